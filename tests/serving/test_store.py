"""The profile store: what is kept, what is forgotten, and who may see it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from sqlalchemy import delete, event, select, text, tuple_

from personakit.errors import UserError
from personakit.serving.store import (
    KeyLimits,
    ProfileStore,
    Retention,
    StoreBusyError,
    StoredProfile,
    TenantStore,
    UnknownError,
    keys_are_apart,
    open_store,
)
from personakit.serving.store.database import open_databases
from personakit.serving.store.tables import metadata, user_keys, users

TEXTS = ("The heron stood in the marsh.", "Marmalade again, hurrah!")


def items(*texts: str) -> list[tuple[dict[str, str], str | None]]:
    return [({"text": text}, None) for text in texts]


def bytes_of(folder: Path) -> bytes:
    """The content of all files of the store, its key aside."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def texts_of(tenant: TenantStore, user: str) -> list[str]:
    return [entry.fields["text"] for entry in tenant.items(user)]


def test_items_are_appended_listed_edited_and_deleted(store: ProfileStore) -> None:
    tenant = store.tenant(create=True)
    assert tenant.append("ada", items(*TEXTS)) == [1, 2]
    assert tenant.append("ada", [({"title": "Third", "text": "x"}, "2026-01-02")]) == [3]
    assert [(entry.number, dict(entry.fields), entry.date) for entry in tenant.items("ada")] == [
        (1, {"text": TEXTS[0]}, None),
        (2, {"text": TEXTS[1]}, None),
        (3, {"title": "Third", "text": "x"}, "2026-01-02"),
    ]
    tenant.replace_item("ada", 1, {"text": "A heron."}, "2025-05-05")
    tenant.delete_item("ada", 3)
    assert tenant.append("ada", items("fourth")) == [4]  # the number of a deleted item is not used again
    assert texts_of(tenant, "ada") == ["A heron.", TEXTS[1], "fourth"]
    assert [entry.number for entry in tenant.items("ada", after=1, limit=1)] == [2]
    assert [user.user for user in tenant.users()] == ["ada"]
    assert tenant.user("ada").items == 3


def test_many_users_are_loaded_at_once_and_those_that_are_there_stay(store: ProfileStore) -> None:
    tenant = store.tenant(create=True)
    tenant.append("user-3", items("own"))
    histories = [(f"user-{number}", items("a", f"b{number}")) for number in range(1200)]
    assert tenant.load(iter(histories[:700])) == 699
    assert tenant.load(histories) == 500  # as after an interruption
    assert texts_of(tenant, "user-3") == ["own"]
    assert texts_of(tenant, "user-1199") == ["a", "b1199"]
    assert tenant.append("user-1199", items("c")) == [3]
    assert len(tenant.users(limit=2000)) == 1200


def test_a_store_is_read_again_by_another_process(place: str, tmp_path: Path) -> None:
    open_store(place).tenant(create=True).append("ada", items(*TEXTS))
    assert texts_of(open_store(place).tenant(), "ada") == list(TEXTS)
    assert (tmp_path / "profiles" / "master.key").stat().st_mode & 0o777 == 0o600


def test_the_export_has_everything(store: ProfileStore) -> None:
    tenant = store.tenant(create=True)
    tenant.append("ada", items("one"))
    tenant.put_summary("ada", "popi", "Likes herons.")
    tenant.put_summary("ada", "popi", "Likes herons a lot.")
    tenant.put_setting("ada", "personalise", False)
    document = tenant.export("ada")
    assert document["user"] == "ada"
    assert [entry["fields"] for entry in document["items"]] == [{"text": "one"}]
    assert [(each["text"], each["edited"]) for each in document["summaries"]] == [
        ("Likes herons a lot.", True)
    ]
    assert document["settings"] == {"personalise": False}


def test_no_file_has_readable_text_or_names(tmp_path: Path) -> None:
    tenant = open_store(str(tmp_path)).tenant(create=True)
    tenant.append("ada.lovelace", items(*TEXTS))
    tenant.put_summary("ada.lovelace", "popi", "Adores periwinkle.")
    tenant.put_setting("ada.lovelace", "nickname", "Wombat")
    written = bytes_of(tmp_path)
    assert (tmp_path / "profiles.sqlite-wal").stat().st_size > 0
    for word in (b"heron", b"Marmalade", b"lovelace", b"periwinkle", b"Wombat"):
        assert word not in written, word


def test_what_was_forgotten_is_unreadable_in_a_backup(tmp_path: Path) -> None:
    live, backup = tmp_path / "live", tmp_path / "backup"
    store = open_store(str(live))
    for user in ("ada", "bob"):
        store.tenant(create=True).append(user, items(*TEXTS))
    backup.mkdir()
    for path in live.glob("profiles.sqlite*"):  # the write-ahead log, too
        shutil.copy(path, backup)
    sealed_keys = (live / "keys.sqlite").read_bytes()

    store.tenant().forget("ada")
    with pytest.raises(UnknownError, match="'ada'"):
        store.tenant().items("ada")
    assert [user.user for user in store.tenant().users()] == ["bob"]

    for path in (*live.glob("keys.sqlite*"), live / "master.key"):
        shutil.copy(path, backup)
    restored = open_store(str(backup)).tenant()
    assert texts_of(restored, "bob") == list(TEXTS)
    assert [user.user for user in restored.users()] == ["bob"]
    with pytest.raises(UnknownError):
        restored.items("ada")
    assert restored.append("ada", items("new")) == [1]  # the name can be used again, and is another user
    assert texts_of(restored, "ada") == ["new"]
    gone = [block for block in blocks(sealed_keys) if block not in (live / "keys.sqlite").read_bytes()]
    assert gone  # the key was overwritten in its file


def test_keys_can_be_in_a_database_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONAKIT_KEYS", f"sqlite:///{tmp_path / 'elsewhere.sqlite'}")
    assert keys_are_apart("postgresql://x/y")
    tenant = open_store(str(tmp_path / "live")).tenant(create=True)
    tenant.append("ada", items(*TEXTS))
    assert texts_of(open_store(str(tmp_path / "live")).tenant(), "ada") == list(TEXTS)
    assert not (tmp_path / "live" / "keys.sqlite").exists()
    monkeypatch.delenv("PERSONAKIT_KEYS")
    assert keys_are_apart(str(tmp_path / "live"))
    assert not keys_are_apart("postgresql://x/y")
    monkeypatch.setenv("PERSONAKIT_KEYS", f"sqlite:///{tmp_path / 'elsewhere.sqlite'}")
    (tmp_path / "elsewhere.sqlite").unlink()
    with pytest.raises(UserError, match=r"elsewhere.sqlite: expected the keys of this profile store's users"):
        open_store(str(tmp_path / "live"))
    assert not (tmp_path / "elsewhere.sqlite").exists()


def blocks(content: bytes, size: int = 16) -> set[bytes]:
    found = {content[start : start + size] for start in range(len(content) - size)}
    return {block for block in found if len(set(block)) > 10}


def test_a_store_is_opened_whose_first_users_have_all_been_forgotten(place: str) -> None:
    tenant = open_store(place).tenant(create=True)
    tenant.load([(f"user-{number}", items("a")) for number in range(103)])
    with tenant._profiles.reading() as connection:
        first = connection.execute(select(users.c.key_id).order_by(users.c.id).limit(102)).scalars().all()
    with tenant._vault._database.writing() as connection:  # as in an older backup
        connection.execute(delete(user_keys).where(user_keys.c.id.in_(first)))
    assert [user.user for user in open_store(place).tenant().users()] == ["user-102"]


def test_forgetting_ends_the_users_keys(store: ProfileStore) -> None:
    tenant = store.tenant(create=True)
    with pytest.raises(UnknownError, match="no user 'ada'"):
        store.keys(tenant).create(user="ada")
    tenant.create("ada")
    _, own = store.keys(tenant).create(user="ada")
    _, general = store.keys(tenant).create()
    tenant.forget("ada")
    assert store.authenticate(own) is None
    assert store.authenticate(general) is not None


def test_a_forgetting_that_was_interrupted_is_completed(
    store: ProfileStore, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = store.tenant(create=True)
    tenant.append("ada", items(*TEXTS))

    def killed(table: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("personakit.serving.store.tenant.delete", killed)
    with pytest.raises(KeyboardInterrupt):
        tenant.forget("ada")
    monkeypatch.setattr("personakit.serving.store.tenant.delete", delete)
    tenant = open_store(place).tenant()  # that its only user has no key does not mean that keys were lost
    assert not tenant.exists("ada")
    assert tenant.append("ada", items("new")) == [1]
    assert texts_of(tenant, "ada") == ["new"]


OTHERS_USER: dict[str, Callable[[TenantStore], object]] = {
    "number_of": lambda tenant: tenant.number_of("ada"),
    "user": lambda tenant: tenant.user("ada"),
    "items": lambda tenant: tenant.items("ada"),
    "export": lambda tenant: tenant.export("ada"),
    "forget": lambda tenant: tenant.forget("ada"),
    "replace_item": lambda tenant: tenant.replace_item("ada", 1, {"text": "x"}, None),
    "delete_item": lambda tenant: tenant.delete_item("ada", 1),
    "summaries": lambda tenant: tenant.summaries("ada"),
    "delete_summary": lambda tenant: tenant.delete_summary("ada", "popi"),
    "keep_summary": lambda tenant: tenant.keep_summary("ada", "popi", "x", basis="b", version="v"),
    "settings": lambda tenant: tenant.settings("ada"),
}
MAKES_ITS_OWN: dict[str, Callable[[TenantStore], object]] = {
    "append": lambda tenant: tenant.append("ada", items("theirs")),
    "create": lambda tenant: tenant.create("ada"),
    "load": lambda tenant: tenant.load([("ada", items("theirs"))]),
    "put_summary": lambda tenant: tenant.put_summary("ada", "popi", "theirs"),
    "put_setting": lambda tenant: tenant.put_setting("ada", "personalise", False),
}
ALLOWED: dict[str, Callable[[TenantStore], object]] = {
    "profile": lambda tenant: tenant.profile("ada", summary_of="popi") != StoredProfile(known=False),
    "users": lambda tenant: tenant.users() or None,
    "exists": lambda tenant: tenant.exists("ada"),
    "name_of": lambda tenant: tenant.name_of(1),
    "retention": lambda tenant: tenant.retention(),
    "set_retention": lambda tenant: tenant.set_retention(Retention(days=0, items=0)),
    "would_delete": lambda tenant: any(tenant.would_delete(Retention(days=0, items=0))),
    "apply_retention": lambda tenant: tenant.apply_retention(),
}


def test_every_method_of_a_tenant_is_tried_by_another_one() -> None:
    public = {
        name for name, value in vars(TenantStore).items() if callable(value) and not name.startswith("_")
    }
    assert public == {*OTHERS_USER, *MAKES_ITS_OWN, *ALLOWED}


@pytest.mark.parametrize("name", [*OTHERS_USER, *MAKES_ITS_OWN, *ALLOWED])
def test_a_tenant_reaches_no_other_tenants_user(store: ProfileStore, name: str) -> None:
    ours, theirs = store.tenant("ours", create=True), store.tenant("theirs", create=True)
    ours.append("ada", items(*TEXTS))
    ours.put_summary("ada", "popi", "Ours.")
    before = ours.export("ada")
    if name in OTHERS_USER:
        with pytest.raises(UnknownError):
            OTHERS_USER[name](theirs)
    else:
        result = {**MAKES_ITS_OWN, **ALLOWED}[name](theirs)
        assert result in (None, False, 0, 1, [1], Retention(), 2), name
    assert ours.export("ada") == before
    assert [user.user for user in ours.users()] == ["ada"]
    assert "heron" not in str(theirs.users())


def test_a_tenant_revokes_only_its_own_keys(store: ProfileStore) -> None:
    ours, theirs = store.tenant("ours", create=True), store.tenant("theirs", create=True)
    number, secret = store.keys(ours).create("phone", limits=KeyLimits(60, 2))
    with pytest.raises(UnknownError, match=f"key {number}"):
        store.keys(theirs).revoke(number)
    assert store.keys(theirs).list() == []
    access = store.authenticate(secret)
    assert access is not None
    assert (access.store.id, access.user, access.limits) == (ours.id, None, KeyLimits(60, 2))
    store.keys(ours).revoke(number)
    assert store.authenticate(secret) is None
    assert [key.revoked is not None for key in store.keys(ours).list()] == [True]
    assert not store.has_keys()


def test_a_sealed_text_cannot_be_moved_to_another_place(store: ProfileStore) -> None:
    from personakit.serving.store.encryption import UnreadableError

    tenant = store.tenant(create=True)
    tenant.append("ada", items(*TEXTS))
    with tenant._profiles.writing() as connection:
        connection.execute(text("UPDATE items SET sealed = (SELECT sealed FROM items WHERE number = 1)"))
    with pytest.raises(UnreadableError):
        tenant.items("ada")


def test_retention_keeps_the_newest_items_and_none_that_are_too_old(
    store: ProfileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = store.tenant(create=True)
    tenant.append("ada", items("1", "2", "3"))
    tenant.append("bob", items("a"))
    assert tenant.set_retention(Retention(items=2)) == 1
    assert texts_of(tenant, "ada") == ["2", "3"]
    tenant.append("ada", items("4"))
    assert texts_of(tenant, "ada") == ["3", "4"]
    tenant.set_retention(Retention(days=30))
    now = time.time()
    monkeypatch.setattr("personakit.serving.store.rows.time.time", lambda: now + 31 * 86_400)
    tenant.append("ada", items("5"))
    assert texts_of(tenant, "ada") == ["5"]  # old ones are not shown even before they are deleted
    assert store.apply_retention() == 3
    assert (tenant.user("ada").items, tenant.user("bob").items) == (1, 0)


def test_old_items_are_deleted_a_few_at_a_time(store: ProfileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = store.tenant("ours", create=True), store.tenant("theirs", create=True)
    for tenant in (ours, theirs):
        for user in ("ada", "bob"):
            tenant.append(user, items("1", "2", "3"))
    ours.set_retention(Retention(days=30))
    monkeypatch.setattr("personakit.serving.store.tenant._DELETED_TOGETHER", 4)
    now, sizes = time.time(), []
    monkeypatch.setattr("personakit.serving.store.tenant.time.time", lambda: now + 31 * 86_400)
    monkeypatch.setattr(
        "personakit.serving.store.tenant.tuple_",
        lambda *columns: (sizes.append(1), tuple_(*columns))[1],
    )
    assert store.apply_retention() == 6
    assert len(sizes) == 2
    assert [ours.user(name).items for name in ("ada", "bob")] == [0, 0]
    assert [theirs.user(name).items for name in ("ada", "bob")] == [3, 3]


def test_retention_that_deletes_nothing_waits_for_no_writer(store: ProfileStore) -> None:
    tenant = store.tenant(create=True)
    tenant.append("ada", items(*TEXTS))
    tenant.set_retention(Retention(days=30, items=5))
    with tenant._profiles.writing() as connection:
        connection.execute(text("UPDATE tenants SET keep_days = 31"))
        assert tenant.apply_retention() == 0


def test_readers_wait_for_no_writer_and_writers_not_for_long(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("personakit.serving.store.database.STORE_SECONDS", 0.3)
    tenant = open_store(place).tenant(create=True)
    tenant.append("ada", items(*TEXTS))
    failed: list[str] = []

    def append() -> None:
        try:
            tenant.append("ada", items("late"))
        except StoreBusyError as error:
            failed.append(error.message)

    threads = [Thread(target=append) for _ in range(8)]  # fewer than connections that read
    with tenant._profiles.writing() as connection:
        connection.execute(text("UPDATE users SET created = created"))
        for thread in threads:
            thread.start()
        assert texts_of(tenant, "ada") == list(TEXTS)
        for thread in threads:
            thread.join()
    assert failed == ["the profile store is busy: no answer within 0.3 seconds"] * 8


def test_a_user_has_so_many_items_and_answers_read_the_newest(place: str) -> None:
    tenant = open_store(place, max_items=3).tenant(create=True)
    tenant.append("ada", items("1", "2"))
    with pytest.raises(UserError, match="'ada' would have more than 3 items"):
        tenant.append("ada", items("3", "4"))
    assert tenant.append("ada", items("3")) == [3]
    assert texts_of(tenant, "ada") == ["1", "2", "3"]
    fewer = open_store(place, max_items=2).tenant()
    assert [item.fields["text"] for item in fewer.profile("ada").items] == ["2", "3"]
    tenant.set_retention(Retention(items=2))  # then the oldest give way
    tenant.append("ada", items("4", "5", "6", "7"))
    assert texts_of(tenant, "ada") == ["6", "7"]


def test_users_are_listed_with_few_statements_and_behind_a_forgotten_one(store: ProfileStore) -> None:
    tenant = store.tenant(create=True)
    names = [f"user-{number}" for number in range(7)]
    tenant.load([(name, items("a", "b")) for name in names])
    tenant.put_summary("user-3", "popi", "Brief.")
    statements: list[str] = []
    event.listen(tenant._profiles._readers, "before_cursor_execute", lambda *call: statements.append(call[2]))
    listed = tenant.users()
    assert len(statements) == 3
    assert sorted(user.user for user in listed) == names
    assert {user.user: (user.items, user.summaries) for user in listed}["user-3"] == (2, 1)
    first, *others = tenant.users(limit=3)
    assert [first, *others, *tenant.users(after=others[-1].user)] == listed
    tenant.forget(others[-1].user)
    assert tenant.users(after=others[-1].user) == listed[3:]


def test_a_user_who_is_forgotten_during_an_append_begins_anew(
    store: ProfileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, create = store.tenant(create=True), TenantStore.create
    made: list[str] = []

    def and_forgotten_once(self: TenantStore, name: str) -> None:
        create(self, name)
        if not made:
            self.forget(name)
        made.append(name)

    monkeypatch.setattr(TenantStore, "create", and_forgotten_once)
    assert tenant.append("ada", items("one")) == [1]
    assert texts_of(tenant, "ada") == ["one"]


def test_a_store_of_a_newer_version_is_refused(place: str) -> None:
    tenant = open_store(place).tenant(create=True)
    with tenant._profiles.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(UserError, match="9999"):
        open_store(place)


def test_appends_at_once_lose_nothing(place: str, store: ProfileStore) -> None:
    store.tenant(create=True)
    start = Barrier(4)

    def append(number: int) -> None:
        tenant = open_store(place).tenant()
        start.wait()
        for count in range(5):
            tenant.append("ada", items(f"{number}.{count}"))

    threads = [Thread(target=append, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [f"{number}.{count}" for number in range(4) for count in range(5)]
    assert sorted(texts_of(store.tenant(), "ada")) == expected
    assert len(store.tenant().users()) == 1


@pytest.mark.parametrize("name", ["", "a/b", ".", "..", "a\nb", "a\n", "\x85", "x" * 257, "\ud800"])
def test_names_that_cannot_be_in_an_address_are_refused(store: ProfileStore, name: str) -> None:
    with pytest.raises(UserError, match="expected 1 to 256 characters"):
        store.tenant(create=True).append(name, items("x"))
    assert store.tenant().users() == []


def test_another_master_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_store(str(tmp_path / "one"))
    open_store(str(tmp_path / "two"))
    key = (tmp_path / "one" / "master.key").read_text()
    (tmp_path / "two" / "master.key").write_text(key)
    with pytest.raises(UserError, match="another master key"):
        open_store(str(tmp_path / "two"))
    (tmp_path / "one" / "master.key").unlink()
    with pytest.raises(UserError, match="no such file"):
        open_store(str(tmp_path / "one"))
    assert not (tmp_path / "one" / "master.key").exists()
    monkeypatch.setenv("PERSONAKIT_MASTER_KEY", key)
    open_store(str(tmp_path / "one"))
    monkeypatch.setenv("PERSONAKIT_MASTER_KEY", "short")
    with pytest.raises(UserError, match="PERSONAKIT_MASTER_KEY: not a master key"):
        open_store(str(tmp_path / "one"))


def test_a_master_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    open_store(str(tmp_path))
    (tmp_path / "master.key").chmod(0o644)
    with pytest.raises(UserError, match="its mode is 0644"):
        open_store(str(tmp_path))


@pytest.mark.parametrize(
    ("place", "message"),
    [("nosql://host/x", "nosql"), ("sqlite:///x.sqlite", "expected a folder"), ("://", "profile store")],
)
def test_addresses_that_cannot_be_used(place: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_store(place)


def test_the_migrations_make_the_tables(place: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    profiles, _, _ = open_databases(place)
    with profiles.reading() as connection:
        ours = {"include_name": lambda name, kind, _: kind != "table" or name in metadata.tables}
        assert compare_metadata(MigrationContext.configure(connection, opts=ours), metadata) == []
