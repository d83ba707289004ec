"""The page at `/`: static files, which call the API as any client does."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel

from personakit.serving.errors import RESPONSES, ApiError
from personakit.serving.service import AccessOf, ServiceOf

router = APIRouter()
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_FILES = {path.name: path.read_bytes() for path in (Path(__file__).parent / "web").iterdir()}
#: The page loads its own files and calls the service it came from, nothing else. No text can become a script.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class AccessEntry(BaseModel):
    """What a request reaches."""

    user: str | None
    """The user that the key is bound to; None if it reaches all users of its tenant."""
    base: str
    """The name of the bare base model."""


@router.get("/v1/access", responses=RESPONSES)
async def access_entry(service: ServiceOf, access: AccessOf) -> AccessEntry:
    """Return the user that the key is bound to, and the name of the bare base model."""
    return AccessEntry(user=access.user, base=service.answering.base.name)


@router.get("/", include_in_schema=False)
async def page() -> Response:
    """Return the page."""
    return _file("index.html")


@router.get("/web/{name}", include_in_schema=False)
async def page_file(name: str) -> Response:
    """Return a file of the page."""
    if name not in _FILES:
        raise ApiError(404, "the page has no such file")
    return _file(name)


def _file(name: str) -> Response:
    return Response(_FILES[name], media_type=_KINDS[Path(name).suffix], headers=_HEADERS)
