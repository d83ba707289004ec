"""Makes mail archives for tests."""

from __future__ import annotations

from email.message import EmailMessage
from pathlib import Path

KAI, LENA = "Kai Berg <kai@berg.example>", "Lena Weiss <lena@weiss.example>"


def mail(text: str, *, sender: str = KAI, to: str = LENA, day: int = 1, **headers: str) -> EmailMessage:
    """Return a message of plain text, sent at noon of a day of March 2024."""
    message = EmailMessage()
    message["From"], message["To"] = sender, to
    message["Date"] = f"{day} Mar 2024 12:00:00 +0000"
    message["Message-ID"] = f"<{abs(hash((text, day)))}@example>"
    for name, value in ({"Subject": "Hello"} | headers).items():
        del message[name.replace("_", "-")]
        message[name.replace("_", "-")] = value
    message.set_content(text)
    return message


def write_mbox(path: Path, *messages: EmailMessage | bytes) -> Path:
    """Write messages as an mbox."""
    with path.open("wb") as handle:
        for message in messages:
            content = (
                message if isinstance(message, bytes) else message.as_bytes().replace(b"\nFrom ", b"\n>From ")
            )
            handle.write(b"From someone@example Fri Mar  1 12:00:00 2024\n" + content.rstrip() + b"\n\n")
    return path
