"""The text of an HTML e-mail, without what it quotes and without its signature."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_HIDDEN = frozenset({"head", "style", "script", "title", "blockquote", "noscript"})
_PARAGRAPHS = frozenset({"p", "h1", "h2", "h3", "h4", "ul", "ol", "table", "blockquote"})
_LINES = frozenset({"div", "li", "tr", "br", "hr"})
_VOID = frozenset(
    {"br", "hr", "img", "input", "meta", "link", "area", "base", "col", "embed", "source", "wbr"}
)
# Gmail, Thunderbird, Outlook on the web, Yahoo, Proton, Apple Mail.
_NOT_OWN = re.compile(
    r"gmail_quote|gmail_attr|gmail_signature|moz-cite-prefix|moz-signature|divRplyFwdMsg|yahoo_quoted|"
    r"protonmail_quote|protonmail_signature|(?<![\w-])signature(?![\w-])|ms-outlook-mobile-signature",
    re.IGNORECASE,
)
#: From here to the end all is quoted.
_REST = re.compile(r"divRplyFwdMsg|appendonsend|stopSpelling|OLK_SRC_BODY_SECTION", re.IGNORECASE)


class _Text(HTMLParser):
    def __init__(self, *, quoted: bool) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._quoted = quoted
        self._hidden: list[str] = []  # open elements, from the first hidden one
        self._ended = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        names = " ".join(value or "" for key, value in attributes if key in ("class", "id"))
        if not self._quoted and _REST.search(names):
            self._ended = True
        if tag in _VOID:
            self._break(tag)
            return
        hides = tag in _HIDDEN if not self._quoted else tag in _HIDDEN - {"blockquote"}
        if self._hidden or hides or (not self._quoted and _NOT_OWN.search(names)):
            self._hidden.append(tag)
        self._break(tag)
        if tag == "li" and not self._hidden:
            self.parts.append("- ")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._hidden:
            while self._hidden.pop() != tag:
                pass
        self._break(tag)

    def handle_data(self, data: str) -> None:
        if not (self._hidden or self._ended):
            self.parts.append(re.sub(r"[ \t\r\n\f]+", " ", data))

    def _break(self, tag: str) -> None:
        if not (self._hidden or self._ended):
            if tag in _PARAGRAPHS:
                self.parts.append("\n\n")
            elif tag in _LINES and (tag in ("br", "hr") or not "".join(self.parts[-1:]).endswith("\n")):
                self.parts.append("\n")


def html_text(html: str, *, quoted: bool = False) -> str:
    """Return the text of an HTML body, one line per line of the page; with `quoted`, all of it."""
    parser = _Text(quoted=quoted)
    parser.feed(html)
    parser.close()
    lines = "".join(parser.parts).split("\n")
    text = "\n".join(" ".join(line.split()) for line in lines)
    return re.sub(r"\n{3,}", "\n\n", text).strip()
