"""HTTP clients that name the environment variable (proxy, certificates) that keeps them from working."""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from personakit.errors import UserError

if TYPE_CHECKING:
    import httpx2

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def open_client(url: str, **options: Any) -> httpx2.Client:
    """Open a client for requests to `url`. Addresses of this machine need no proxy, whatever is set.

    Raises `UserError` with the variable of the environment that cannot be used.
    """
    import httpx2

    try:
        if not is_loopback(url):
            return httpx2.Client(**options)
        own = httpx2.create_ssl_context(trust_env=url.startswith("https:"))
        return httpx2.Client(**options, verify=own, trust_env=False)
    except (ImportError, OSError, ValueError, httpx2.InvalidURL) as error:
        raise _unusable_variable(error) from error


def check_client(url: str) -> None:
    """Raise `UserError` if a variable of the environment prevents requests to `url`; sends none."""
    open_client(url).close()


def is_loopback(url: str) -> bool:
    """Return whether `url` is on this machine."""
    host = urlsplit(url).hostname or ""
    return is_loopback_host(host) or host.endswith(".localhost")


def is_loopback_host(host: str) -> bool:
    """Return whether `host`, an address (IPv6 also in brackets) or `localhost`, is this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def proxy_for(url: str) -> str | None:
    """Return the variable and value, without password, of the proxy for requests to `url`, or None."""
    found = _proxy(url)
    return None if found is None else _shown(*found)


def http_proxy(url: str) -> str | None:
    """Return the address of the proxy for requests to `url`, or None; raises `UserError` if it is SOCKS."""
    found = _proxy(url)
    if found is None:
        return None
    name, value = found
    if value.startswith("socks"):
        raise UserError(
            f"the proxy {_shown(name, value)} cannot be used: the service has no SOCKS",
            hint=f"set it to http://HOST:PORT, or unset {name}; addresses of this machine need no proxy",
        )
    return value if "://" in value else f"http://{value}"


def _proxy(url: str) -> tuple[str, str] | None:
    """Return the variable and value of the proxy for requests to `url`, or None."""
    parts, proxies = urlsplit(url), getproxies()
    if is_loopback(url) or proxy_bypass(parts.hostname or ""):
        return None
    scheme = next((each for each in (parts.scheme, "all") if proxies.get(each)), None)
    return None if scheme is None else (f"{scheme.upper()}_PROXY", proxies[scheme])


def _unusable_variable(error: Exception) -> UserError:
    import httpx2

    if isinstance(error, OSError):  # as ssl.SSLError is
        for name in filter(os.environ.get, _CERTIFICATES):
            return UserError(
                f"{_shown(name, os.environ[name])} cannot be used: {error.strerror or error}",
                hint=f"set {name} to existing certificates in PEM format, or unset it",
            )
    for name in (each for variable in _PROXIES for each in (variable.lower(), variable)):
        if value := os.environ.get(name):
            try:
                httpx2.Client(proxy=value if "://" in value else f"http://{value}", verify=False).close()
            except (ImportError, ValueError, httpx2.InvalidURL) as reason:
                unsupported = isinstance(reason, ImportError)
                return UserError(
                    f"the proxy {_shown(name, value)} cannot be used: "
                    + ("SOCKS needs the package socksio" if unsupported else str(reason)),
                    hint=("install socksio, or " if unsupported else "set it to http://HOST:PORT, or ")
                    + f"unset {name}; addresses of this machine need no proxy",
                )
    no_proxy = next((name for name in ("no_proxy", "NO_PROXY") if os.environ.get(name)), None)
    named = _shown(no_proxy, os.environ[no_proxy]) if no_proxy else "a variable of the environment"
    return UserError(
        f"{named} cannot be used: {error}", hint="list hosts, separated by commas, or unset the variable"
    )


def _shown(name: str, value: str) -> str:
    return f"{name}={value.rpartition('@')[2]}"
