"""The service's parts, as the routes get them, and its settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from personakit.serving import MAX_BODY_BYTES
from personakit.serving.answering import Answering
from personakit.serving.errors import ApiError
from personakit.serving.limits import Limiter
from personakit.serving.metrics import Metrics
from personakit.serving.store import Access, KeyLimits, ProfileStore, checked_name

USER_HEADER, PERSONALISE_HEADER, TRACE_HEADER = (
    "x-personakit-user",
    "x-personakit-personalise",
    "x-personakit-trace",
)


@dataclass
class Service:
    """One process of the service.

    With `open_to_all`, requests without a key get the default tenant until the store has a key: for loopback
    addresses only. `limits` apply to keys without limits of their own.
    """

    store: ProfileStore
    answering: Answering
    metrics: Metrics
    open_to_all: bool = False
    limits: KeyLimits = field(default_factory=KeyLimits)
    max_body_bytes: int = MAX_BODY_BYTES

    @cached_property
    def open_access(self) -> Access:
        """What a request without a key gets where none is needed."""
        return Access(self.store.tenant())

    async def needs_no_key(self) -> bool:
        """Return whether requests without a key are answered. They no longer are once a key is made."""
        if self.open_to_all and await run_in_threadpool(self.store.has_keys):
            self.open_to_all = False
        return self.open_to_all

    @cached_property
    def limiter(self) -> Limiter:
        """The counts of this process."""
        return Limiter(self.limits)


async def service_of(request: Request) -> Service:  # async: FastAPI calls others on a thread
    """Return the service that a request came to."""
    service: Service = request.app.state.service
    return service


async def access_of(
    request: Request,
    service: Annotated[Service, Depends(service_of)],
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
) -> AsyncIterator[Access]:
    """Yield who a request is from, within the key's limits; raises `ApiError` with status 401 or 429."""
    found = None
    if given is not None:
        found = await run_in_threadpool(service.store.authenticate, given.credentials)
    if found is None and await service.needs_no_key():
        found = service.open_access
    if found is None:
        raise ApiError(
            401,
            "this service needs a valid key: Authorization: Bearer KEY",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )
    request.state.facts.update(tenant=found.store.id, key=found.key)
    with service.limiter.request(found.key, found.limits):
        yield found


AccessOf = Annotated[Access, Depends(access_of)]
ServiceOf = Annotated[Service, Depends(service_of)]


async def _header_user(
    user: Annotated[
        str | None,
        Header(alias=USER_HEADER, description="The user, in UTF-8; the same as `user` of the body."),
    ] = None,
) -> str | None:
    if user is None or user.isascii():
        return user
    try:
        return user.encode("latin-1").decode("utf-8")  # headers are read as Latin-1
    except UnicodeError:
        return user


UserHeader = Annotated[str | None, Depends(_header_user)]


def user_of(access: Access, *asked: str | None) -> str | None:
    """Return the user of a request: the key's, else the one that the request names.

    Raises `ApiError` for another user than the key's, and for two different ones.
    """
    names = list(dict.fromkeys(name for name in asked if name))
    if access.user is not None:
        if any(name != access.user for name in names):
            raise ApiError(403, "this key is bound to another user", code="user_mismatch", param="user")
        return access.user
    if len(names) > 1:
        raise ApiError(400, "the body and the header name two users, expected one", param="user")
    return checked_name(names[0]) if names else None
