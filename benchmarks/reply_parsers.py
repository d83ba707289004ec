"""What the sender of an e-mail wrote, as found by `personakit/data/own/quotes.py` and by two libraries.

    pip install mail-parser-reply email-reply-parser
    python benchmarks/reply_parsers.py

Prints how many of the made-up replies of `tests/data/own/reply_styles.py` each one reads word for word, and
which it does not. The replies were written before the code, but by the same hand: the count says that the
code reads the forms it was written for, and which of them the libraries do not read. Both remove some
sign-offs ("Best regards, Kai") as signatures, or none; here they belong to the writer's style.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from personakit.data.own.quotes import split_reply
from tests.data.own.reply_styles import REPLIES

LANGUAGES = ["en", "de", "fr", "es", "it", "nl", "pl", "sv", "da"]


def parsers() -> dict[str, Callable[[str], str]]:
    """Return what is compared, by name. Imports the libraries, which the package itself does not need."""
    from email_reply_parser import EmailReplyParser
    from mailparser_reply import EmailReplyParser as MultilingualParser

    def reply(body: str, part: str) -> str:
        replies = MultilingualParser(languages=[*LANGUAGES]).read(body).replies
        return str(getattr(replies[0], part) or "") if replies else ""

    return {
        "personakit": lambda body: split_reply(body).own,
        "mail-parser-reply, content": lambda body: reply(body, "content"),
        "mail-parser-reply, body (without signatures)": lambda body: reply(body, "body"),
        "email-reply-parser": EmailReplyParser.parse_reply,
    }


def main() -> None:
    for name, parse in parsers().items():
        wrong = [each.style for each in REPLIES if parse(each.body).split() != each.own.split()]
        print(f"{name}: {len(REPLIES) - len(wrong)} of {len(REPLIES)}; not {', '.join(wrong) or 'any'}")


if __name__ == "__main__":
    main()
