"""Where an endpoint is and what opens it: checked before the first request, shown without secrets."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from personakit.errors import UserError


def check_address(url: str) -> str:
    """Return `url` without a slash at its end; raises `UserError` where no request could go there.

    Of the value only what stands after a user name and password is ever quoted.
    """
    import httpx2

    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        host.encode("idna")  # as the resolver will
        httpx2.URL(url)
        # An @ beyond the host: part of a password is read as the address, and would be shown as one.
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
    ) from None  # the cause would repeat what is left out here


def shown_address(url: str) -> str:
    """Return a checked `url` without a user name, password or query that stands in it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def check_key(key: str | None) -> str | None:
    """Return `key`; raises `UserError`, which does not quote it, where it cannot be sent."""
    if key is not None and not (key.isascii() and key.isprintable() and key == key.strip()):
        raise UserError(
            "OPENAI_API_KEY has characters that no header can hold",
            hint="copy the key again: it has no spaces around it, no line ends, and no letters beyond ASCII",
        )
    return key
