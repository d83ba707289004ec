"""`/v1/users`: what is stored about users. A key that is bound to a user reaches that user only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial, wraps
from typing import Annotated, Any, ParamSpec, TypeVar

from anyio import CapacityLimiter, fail_after, to_thread
from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from personakit.data.dates import parse_date
from personakit.data.lamp_formats import FORMATS
from personakit.data.preferences.profiles import SIGNAL_FORMS
from personakit.serving import STORE_SECONDS
from personakit.serving.errors import RESPONSES, ApiError
from personakit.serving.service import AccessOf, ServiceOf, user_of
from personakit.serving.store import LONGEST_TEXT, NAME_PATTERN, StoreBusyError, TenantStore

router = APIRouter(prefix="/v1/users", responses=RESPONSES, tags=["users"])
_MOST = 2**53  # numbers beyond are not exact in JSON
#: Changes may wait for the database, so they have threads of their own: no other request waits for them.
_CHANGES = CapacityLimiter(20)

#: The texts that items of the tasks have, and signals. A run counts the items that it cannot read.
_FORMS = [
    *dict.fromkeys(frozenset(form.item_keys) - set(form.may_be_empty) for form in FORMATS.values()),
    *map(frozenset, SIGNAL_FORMS),
]
#: Of those, such as have no other one inside: text for most tasks.
_NEEDED = [form for form in _FORMS if not any(other < form for other in _FORMS)]

P = ParamSpec("P")
R = TypeVar("R")

#: The store has this limit, too; here, a refusal names the place in the body.
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
NotBlank = Annotated[Text, Field(pattern=r"\S")]
Name = Annotated[str, Path(pattern=NAME_PATTERN)]
Number = Annotated[int, Path(ge=1, le=_MOST)]
After = Annotated[int, Query(ge=0, le=_MOST, description="Only items after this number.")]
AfterUser = Annotated[str | None, Query(pattern=NAME_PATTERN, description="Only users after this one.")]
Limit = Annotated[int, Query(ge=1, le=1000)]


class NewItem(BaseModel):
    """An item of a user's history: texts by name (`text`, `title`, ...), and a date."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Text] = Field(init=False)
    date: str | None = Field(None, max_length=40)

    @field_validator("date")
    @classmethod
    def _is_a_date(cls, date: str | None) -> str | None:
        try:
            return None if date is None else parse_date(date)
        except (ValueError, OverflowError):
            raise ValueError("expected a date such as 2026-01-02") from None

    @model_validator(mode="after")
    def _is_an_item(self) -> NewItem:
        given = {name for name, text in self.fields.items() if text.strip()}
        if not any(form <= given for form in _NEEDED):
            if any(form <= self.fields.keys() for form in _NEEDED):
                raise ValueError(f"{min(self.fields.keys() - given)} is empty, expected a text")
            others = ", or ".join(", ".join(sorted(form)) for form in _NEEDED if form != {"text"})
            raise ValueError(f"expected a text called text (or, of other kinds of items: {others})")
        return self

    @property
    def fields(self) -> dict[str, str]:
        """The texts by name."""
        return dict(self.__pydantic_extra__ or {})


class _StrictBody(BaseModel):
    """A body in which a misspelt field is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")


class NewItems(_StrictBody):
    """Items to append, oldest first."""

    items: list[NewItem] = Field(min_length=1, max_length=1000)


class NewEdit(_StrictBody):
    """What the user made of an answer, its draft, and the message that it answers, if any."""

    text: NotBlank
    draft: Text
    request: Text | None = None

    @property
    def fields(self) -> dict[str, str]:
        """The item that it becomes; no run reads a field `draft`."""
        return self.model_dump(exclude_none=True)


class NewEdits(_StrictBody):
    """Edits to append."""

    edits: list[NewEdit] = Field(min_length=1, max_length=1000)


class NewSummary(_StrictBody):
    """A summary, written or corrected by hand."""

    text: NotBlank


class UserSettings(_StrictBody):
    """Settings of a user."""

    personalise: bool = Field(
        default=True, strict=True, description="False: all answers are the base model's own."
    )


async def named(user: Name, access: AccessOf) -> tuple[TenantStore, str]:
    """Return the store and the user of the path; raises `ApiError` if the key is bound to another one."""
    return access.store, str(user_of(access, user))


Named = Annotated[tuple[TenantStore, str], Depends(named)]


def _change(route: Callable[P, R]) -> Callable[P, Awaitable[R]]:
    """Run a route on the threads for changes."""

    @wraps(route)
    async def changed(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with fail_after(STORE_SECONDS):  # for a thread: what runs on one is not cancelled
                return await to_thread.run_sync(partial(route, *args, **kwargs), limiter=_CHANGES)
        except TimeoutError as error:
            raise StoreBusyError from error

    return changed


@router.get("")
def list_users(access: AccessOf, after: AfterUser = None, limit: Limit = 100) -> dict[str, Any]:
    """List the tenant's users, always in the same order."""
    if access.user is not None:
        raise ApiError(403, "this key is bound to a user and cannot list users", code="user_mismatch")
    return {"users": [asdict(user) for user in access.store.users(after=after, limit=limit)]}


@router.get("/{user}")
def get_user(user: Named) -> dict[str, Any]:
    """Return how much is stored about a user."""
    store, name = user
    return asdict(store.user(name))


@router.get("/{user}/export")
def export_user(user: Named) -> dict[str, Any]:
    """Return all that is stored about a user."""
    store, name = user
    return store.export(name)


@router.delete("/{user}")
@_change
def forget_user(user: Named, service: ServiceOf) -> dict[str, Any]:
    """Destroy the user's key and delete all that is stored about the user. It cannot be undone."""
    store, name = user
    store.forget(name)
    service.answering.clear_caches()
    return {"forgotten": True}


@router.get("/{user}/items")
def list_items(user: Named, after: After = 0, limit: Limit = 100) -> dict[str, Any]:
    """List a user's items, oldest first."""
    store, name = user
    return {"items": [asdict(item) for item in store.items(name, after=after, limit=limit)]}


@router.post("/{user}/items")
@_change
def append_items(user: Named, new: NewItems) -> dict[str, Any]:
    """Append items; a new user is made."""
    store, name = user
    return {"numbers": store.append(name, [(item.fields, item.date) for item in new.items])}


@router.put("/{user}/items/{number}")
@_change
def replace_item(user: Named, number: Number, item: NewItem) -> dict[str, Any]:
    """Change an item."""
    store, name = user
    store.replace_item(name, number, item.fields, item.date)
    return {"number": number}


@router.delete("/{user}/items/{number}")
@_change
def delete_item(user: Named, number: Number) -> dict[str, Any]:
    """Delete an item."""
    store, name = user
    store.delete_item(name, number)
    return {"number": number}


@router.post("/{user}/edits")
@_change
def append_edits(user: Named, new: NewEdits) -> dict[str, Any]:
    """Append answers as the user changed them, as items; a new user is made."""
    store, name = user
    return {"numbers": store.append(name, [(edit.fields, None) for edit in new.edits])}


@router.get("/{user}/summaries")
def list_summaries(user: Named) -> dict[str, Any]:
    """List a user's summaries."""
    store, name = user
    return {"summaries": [asdict(summary) for summary in store.summaries(name)]}


@router.put("/{user}/summaries/{model}")
@_change
def put_summary(user: Named, model: Name, summary: NewSummary, service: ServiceOf) -> dict[str, Any]:
    """Set a summary by hand: answers of this run of POPI are then written from it, until it is deleted."""
    store, name = user
    service.answering.check_summarised(model)
    store.put_summary(name, model, summary.text)
    return {"model": model}


@router.delete("/{user}/summaries/{model}")
@_change
def delete_summary(user: Named, model: Name) -> dict[str, Any]:
    """Delete a summary."""
    store, name = user
    store.delete_summary(name, model)
    return {"model": model}


@router.get("/{user}/settings")
def get_settings(user: Named) -> UserSettings:
    """Return a user's settings."""
    store, name = user
    return UserSettings(**store.settings(name))


@router.put("/{user}/settings")
@_change
def put_settings(user: Named, settings: UserSettings) -> UserSettings:
    """Set a user's settings; a new user is made."""
    store, name = user
    for setting, value in settings.model_dump().items():
        store.put_setting(name, setting, value)
    return settings
