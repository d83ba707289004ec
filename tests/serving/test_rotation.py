"""Another master key for the profile store: killed at any step, the store can be read."""

from __future__ import annotations

import base64
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient

from personakit.errors import UserError
from personakit.serving.store import (
    UnknownError,
    open_store,
    rotate_master_key,
    rotation,
    vault,
)

if TYPE_CHECKING:
    from personakit.serving.store import ProfileStore

    from .stubs import Stubs

TEXTS = [({"text": "The heron is back."}, None)]
USERS = ("ada", "bob", "cy")


def filled(place: str) -> ProfileStore:
    store = open_store(place)
    for user in USERS:
        store.tenant(create=True).append(user, TEXTS)
    return store


def readable(store: ProfileStore) -> bool:
    return all(store.tenant().export(user)["items"][0]["fields"] == TEXTS[0][0] for user in USERS)


def key_file(tmp_path: Path) -> Path:
    return tmp_path / "profiles" / "master.key"


def killed_while_rotating(place: str, owner: Any, name: str, after: int) -> None:
    """Rotate in a process that is killed by its call number `after` of a function."""
    function: Callable[..., Any] = getattr(owner, name)
    child = os.fork()
    if child:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        return
    calls: list[None] = []

    def counted(*arguments: Any) -> Any:
        calls.append(None)
        if len(calls) == after:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)

    setattr(owner, name, counted)
    try:
        rotate_master_key(place)
    finally:
        os._exit(1)


def test_the_new_key_opens_the_store_and_the_old_one_does_not(place: str, tmp_path: Path) -> None:
    filled(place)
    old = key_file(tmp_path).read_text()
    assert rotate_master_key(place) == len(USERS)
    assert key_file(tmp_path).read_text() != old
    assert key_file(tmp_path).stat().st_mode & 0o777 == 0o600
    assert not key_file(tmp_path).with_suffix(".key.next").exists()
    assert readable(open_store(place))
    key_file(tmp_path).write_text(old)
    with pytest.raises(UserError, match="another master key, or has a new one"):
        open_store(place)


@pytest.mark.parametrize(
    ("owner", "name", "after", "changed"),
    [
        pytest.param(vault, "seal", 2, False, id="among the keys"),
        pytest.param(vault, "seal", 4, False, id="before the transaction ends"),
        pytest.param(rotation.os, "replace", 1, True, id="before the new key takes the old one's place"),
    ],
)
def test_killed_half_way_the_store_can_be_read_and_rotated_again(
    place: str, tmp_path: Path, owner: Any, name: str, after: int, changed: bool
) -> None:
    filled(place)
    old = key_file(tmp_path).read_text()
    killed_while_rotating(place, owner, name, after)
    assert key_file(tmp_path).read_text() == old
    store = open_store(place)
    assert readable(store)
    store.tenant().append("dee", TEXTS)
    assert rotate_master_key(place) == (0 if changed else len(USERS) + 1)
    assert key_file(tmp_path).read_text() != old
    assert readable(open_store(place))
    assert open_store(place).tenant().items("dee")


def test_a_rotation_that_was_killed_does_not_hide_behind_a_variable(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(place)
    killed_while_rotating(place, rotation.os, "replace", 1)
    monkeypatch.setenv("PERSONAKIT_NEXT_MASTER_KEY", base64.urlsafe_b64encode(bytes(32)).decode())
    assert readable(open_store(place))


def test_a_service_whose_master_key_is_gone_says_so(
    place: str, stubs: Stubs, client: TestClient, tmp_path: Path
) -> None:
    client.post("/v1/users/ada/items", json={"items": [{"text": "one"}]}).raise_for_status()
    rotate_master_key(place)
    key_file(tmp_path).unlink()
    reply = client.get("/v1/users/ada/items")
    assert reply.status_code == 503
    assert "master key" in reply.json()["error"]["message"]
    assert str(tmp_path) not in reply.text


def test_forgotten_users_stay_forgotten(place: str) -> None:
    filled(place).tenant().forget("ada")
    assert rotate_master_key(place) == len(USERS) - 1
    tenant = open_store(place).tenant()
    assert {user.user for user in tenant.users()} == {"bob", "cy"}
    with pytest.raises(UnknownError):
        tenant.export("ada")


def test_users_that_are_made_meanwhile_have_keys_that_can_be_read(place: str) -> None:
    store, names = filled(place), [f"user-{number}" for number in range(8)]
    with ThreadPoolExecutor() as pool:
        made = [pool.submit(store.tenant().append, name, TEXTS) for name in names]
        made[2].result()
        assert rotate_master_key(place) >= len(USERS)
        for each in made:
            assert each.result() == [1]
    assert all(open_store(place).tenant().items(name) for name in names)


def test_a_running_service_reads_the_new_key(place: str, stubs: Stubs, client: TestClient) -> None:
    client.post("/v1/users/ada/items", json={"items": [{"text": "one"}]}).raise_for_status()
    assert rotate_master_key(place) == 1
    for user in ("ada", "bob"):  # bob's key is made now
        client.post(f"/v1/users/{user}/items", json={"items": [{"text": "two"}]}).raise_for_status()
    assert len(open_store(place).tenant().items("ada")) == 2
    assert len(open_store(place).tenant().items("bob")) == 1


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("personakit.serving.store.database.STORE_SECONDS", 0.3)


@pytest.mark.usefixtures("short_waits")
def test_who_makes_or_forgets_a_user_does_not_wait_for_ever(
    place: str, stubs: Stubs, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user in ("ada", "eve"):
        client.post(f"/v1/users/{user}/items", json={"items": [{"text": "one"}]}).raise_for_status()
    begun, go_on, seal = Event(), Event(), vault.seal

    def slow(*arguments: Any) -> bytes:
        if arguments[-1] == "lookup":  # the last one; users' keys have the new master key by now
            begun.set()
            assert go_on.wait(60)
        return seal(*arguments)

    monkeypatch.setattr(vault, "seal", slow)
    item = {"items": [{"text": "two"}]}
    with ThreadPoolExecutor(41) as pool:
        rotated = pool.submit(rotate_master_key, place)
        try:
            assert begun.wait(60)
            makes = [
                pool.submit(client.post, f"/v1/users/new-{number}/items", json=item) for number in range(40)
            ]
            for reply in (*(each.result() for each in makes), client.delete("/v1/users/eve")):
                assert (reply.status_code, reply.headers.get("Retry-After")) == (503, "5"), reply.text
                assert reply.json()["error"]["message"].startswith("the profile store is busy: no answer")
            client.post("/v1/users/ada/items", json=item).raise_for_status()
            assert client.get("/v1/users/ada/items").json()["items"][1]["fields"] == {"text": "two"}
            assert not rotated.done()
        finally:
            go_on.set()
        assert rotated.result() == 2
    client.post("/v1/users/bob/items", json=item).raise_for_status()
    assert [user["user"] for user in client.get("/v1/users").json()["users"]].count("new-0") == 0


def test_a_key_is_made_with_the_new_master_key_whatever_another_thread_has_read(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (base64.urlsafe_b64encode(bytes([number]) * 32).decode() for number in (1, 2))
    monkeypatch.setenv("PERSONAKIT_MASTER_KEY", old)
    monkeypatch.setenv("PERSONAKIT_NEXT_MASTER_KEY", new)
    store, read = filled(place), vault.Vault._read_master
    with store._vault._database.reading() as connection:
        before = connection.scalar(vault._LOOKUP) or b""
    rotate_master_key(place)

    def then_in_a_slower_thread(self: vault.Vault, sealed_lookup: bytes) -> bytes:
        master = read(self, sealed_lookup)
        read(self, before)
        return master

    monkeypatch.setattr(vault.Vault, "_read_master", then_in_a_slower_thread)
    [(id, key)] = store._vault.create()
    monkeypatch.setattr(vault.Vault, "_read_master", read)
    monkeypatch.delenv("PERSONAKIT_NEXT_MASTER_KEY")
    monkeypatch.setenv("PERSONAKIT_MASTER_KEY", new)
    assert open_store(place)._vault.read([id]) == {id: key}


def test_without_the_new_key_a_running_service_says_so_and_makes_no_user(
    place: str, stubs: Stubs, client: TestClient, tmp_path: Path
) -> None:
    client.post("/v1/users/ada/items", json={"items": [{"text": "one"}]}).raise_for_status()
    old = key_file(tmp_path).read_text()
    rotate_master_key(place)
    new = key_file(tmp_path).read_text()
    key_file(tmp_path).write_text(old)
    for user in ("ada", "bob"):
        reply = client.post(f"/v1/users/{user}/items", json={"items": [{"text": "two"}]})
        assert reply.status_code == 503
        assert "another master key" in reply.json()["error"]["message"]
    asked = {"model": "voice", "user": "ada", "messages": [{"role": "user", "content": "Hello."}]}
    reply = client.post("/v1/chat/completions", json=asked)
    assert "another master key" in reply.json()["personakit"]["degraded"]
    key_file(tmp_path).write_text(new)
    assert client.get("/v1/users/ada").json()["items"] == 1
    assert client.get("/v1/users/bob").status_code == 404


def test_keys_of_the_environment(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = (base64.urlsafe_b64encode(bytes([number]) * 32).decode() for number in (1, 2))
    monkeypatch.setenv("PERSONAKIT_MASTER_KEY", old)
    filled(place)
    with pytest.raises(UserError, match="the new one is missing"):
        rotate_master_key(place)
    monkeypatch.setenv("PERSONAKIT_NEXT_MASTER_KEY", new)
    assert readable(open_store(place))
    assert rotate_master_key(place) == len(USERS)
    assert rotate_master_key(place) == 0
    assert readable(open_store(place))  # with both
    monkeypatch.delenv("PERSONAKIT_NEXT_MASTER_KEY")
    with pytest.raises(UserError, match="another master key"):
        open_store(place)
    monkeypatch.setenv("PERSONAKIT_MASTER_KEY", new)
    assert readable(open_store(place))
    assert not key_file(tmp_path).exists()
