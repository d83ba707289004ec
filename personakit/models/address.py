"""Validates an endpoint's URL and API key before the first request, and redacts secrets for display."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from personakit.errors import UserError


def validate_url(url: str) -> str:
    """Return `url` without a trailing slash; raises `UserError` if it is not a valid HTTP URL.

    A query is kept, as Azure's addresses have one.
    The message never quotes a user name or password of the URL.
    """
    import httpx2

    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        host.encode("idna")  # as the resolver will
        httpx2.URL(url)
        # An "@" after the host means an unescaped password, part of which would be shown as the address.
        at_host = url.count("@") == parts.netloc.count("@") <= 1
        sound = parts.scheme in ("http", "https") and host and parts.port != 0 and at_host
    except (ValueError, httpx2.InvalidURL):
        sound = False
    if sound:
        return url.rstrip("/")
    hint = "set OPENAI_BASE_URL, for example to http://localhost:8000/v1"
    if "@" in url:
        hint += '; in a password write "@", "/", "?" and "#" as %40, %2F, %3F and %23'
    raise UserError(
        f'endpoint address "{url.rpartition("@")[2].partition("?")[0]}" is not a web address, '
        "expected http://HOST/... or https://HOST/...",
        hint=hint,
    ) from None  # the cause would contain the redacted part


def completions_url(url: str) -> str:
    """Return the URL of chat completions for a validated base URL, whose query, if any, is kept."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
    return urlunsplit(parts._replace(path=path, fragment=""))


def redacted_url(url: str) -> str:
    """Return a validated `url` without user name, password and query."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def validate_api_key(key: str | None) -> str | None:
    """Return `key`. Raises `UserError`, without quoting the key, if it cannot be sent in a header."""
    if key is not None and not (key.isascii() and key.isprintable() and key == key.strip()):
        raise UserError(
            "OPENAI_API_KEY contains characters that are not allowed in a header",
            hint="copy the key again, without spaces, line breaks or non-ASCII characters",
        )
    return key
