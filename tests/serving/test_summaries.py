"""Runs of POPI: answers are written from the user's summary, which is kept and follows the items."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

from personakit.serving.base import Chat
from personakit.serving.store import (
    ProfileStore,
    Retention,
    StoredSummary,
    TenantStore,
    UnknownError,
    basis_of,
)
from personakit.serving.summaries import SummaryRun

from .stubs import BASE, RUN, SUMMARISED, Stubs, stub_service
from .test_chat import ADA, BOB, ask, content, failures


@pytest.fixture(autouse=True)
def _two_users(store: ProfileStore) -> None:
    tenant = store.tenant(create=True)
    tenant.append("ada", [({"text": ADA}, None)])
    tenant.append("bob", [({"text": BOB}, None)])


def stored(store: ProfileStore, user: str = "ada") -> StoredSummary | None:
    return store.tenant().profile(user, summary_of=SUMMARISED).summary


def origin(document: dict[str, Any]) -> tuple[str | None, str | None]:
    return document["personakit"]["summary"], document["personakit"]["reason"]


def test_the_base_model_answers_from_the_summary(client: TestClient, stubs: Stubs) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "The train is late."},
        {"role": "assistant", "content": "Is it?"},
        {"role": "user", "content": "Yes."},
    ]
    document = ask(client, user="ada", model=SUMMARISED, messages=turns, temperature=0.5)
    assert ADA in content(document)
    assert BOB not in content(document)
    assert origin(document) == ("inferred", None)
    [asked] = stubs.base.chats
    assert asked.options == {"temperature": 0.5}
    assert [dict(message) for message in asked.messages[:3]] == turns[:3]
    assert asked.messages[3]["content"].endswith(")\n\nYes.")
    [prompt] = stubs.summariser.prompts
    assert "Yes." not in prompt


def test_a_summary_is_inferred_again_only_when_the_items_have_changed(
    client: TestClient, stubs: Stubs, store: ProfileStore
) -> None:
    tenant = store.tenant()
    assert origin(ask(client, user="ada", model=SUMMARISED)) == ("inferred", None)
    assert origin(ask(client, user="ada", model=SUMMARISED)) == ("stored", None)
    client.post("/v1/users/ada/edits", json={"edits": [{"draft": "Goodbye.", "text": "Toodle-pip!"}]})
    document = ask(client, user="ada", model=SUMMARISED)
    assert origin(document) == ("inferred", None)
    assert "Toodle-pip!" in content(document)
    assert "Goodbye." not in content(document)
    tenant.delete_item("ada", 2)
    assert stored(store) is None  # it was inferred from the deleted item, too
    assert "Toodle-pip!" not in content(ask(client, user="ada", model=SUMMARISED))
    tenant.set_retention(Retention(days=0))
    assert stored(store) is None
    assert origin(ask(client, user="ada", model=SUMMARISED)) == (None, "no history")
    assert len(stubs.summariser.prompts) == 3


def test_a_summary_that_the_user_wrote_is_used(client: TestClient, stubs: Stubs, store: ProfileStore) -> None:
    client.put(f"/v1/users/ada/summaries/{SUMMARISED}", json={"text": "Likes limericks."})
    document = ask(client, user="ada", model=SUMMARISED)
    assert origin(document) == ("edited", None)
    assert "Likes limericks." in content(document)
    store.tenant().append("ada", [({"text": "new"}, None)])
    assert origin(ask(client, user="ada", model=SUMMARISED)) == ("edited", None)
    client.put(f"/v1/users/eve/summaries/{SUMMARISED}", json={"text": "Likes sonnets."})
    assert "Likes sonnets." in content(ask(client, user="eve", model=SUMMARISED))
    assert stubs.summariser.prompts == []
    client.delete(f"/v1/users/ada/summaries/{SUMMARISED}")
    assert origin(ask(client, user="ada", model=SUMMARISED)) == ("inferred", None)


@pytest.mark.parametrize("model", [RUN, BASE, "nothing"])
def test_a_summary_that_nothing_reads_is_refused(client: TestClient, model: str) -> None:
    reply = client.put(f"/v1/users/ada/summaries/{model}", json={"text": "Likes limericks."})
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")


def test_generic_answers_beside_the_personal_one_and_instead_of_it(client: TestClient) -> None:
    beside = ask(client, user="ada", model=SUMMARISED, personakit={"generic": True})
    assert beside["personakit"]["generic"] == "Draft: The train is late."
    assert ADA in content(beside)
    for fields in ({"user": "eve"}, {}, {"user": "ada", "personakit": {"personalise": False}}):
        assert content(ask(client, model=SUMMARISED, **fields)) == "Draft: The train is late."


def test_a_summary_that_takes_too_long_is_there_for_the_next_request(store: ProfileStore) -> None:
    stubs, end = stub_service(store, rewrite_seconds=0.2), threading.Event()

    def slow(prompt: str, limit: int) -> str:
        end.wait(20)
        return "Likes marshes."

    stubs.summariser.answer = slow
    answering, users = stubs.service.answering, store.tenant()
    run = answering.runs[SUMMARISED]
    assert isinstance(run, SummaryRun)
    chat = Chat([{"role": "user", "content": "The train is late."}])

    async def ask_thrice() -> list[Any]:
        late = await asyncio.gather(*(answering.answer(SUMMARISED, chat, users, "ada") for _ in range(2)))
        end.set()
        [task] = run._inferring.values()
        await task
        return [*late, await answering.answer(SUMMARISED, chat, users, "ada")]

    *late, last = asyncio.run(ask_thrice())
    for each in late:
        assert each.answer.text == "Draft: The train is late."
        assert each.trace.degraded == "the summary took longer than 0.2 seconds"
    assert last.trace.summary == "stored"
    assert "Likes marshes." in last.answer.text
    assert len(stubs.summariser.prompts) == 1
    answering.batcher.close()


def test_a_user_who_is_forgotten_while_the_summary_is_inferred_is_unknown(
    client: TestClient, stubs: Stubs, store: ProfileStore, caplog: pytest.LogCaptureFixture
) -> None:
    def forgotten(prompt: str, limit: int) -> str:
        store.tenant().forget("ada")
        return "Likes marshes."

    stubs.summariser.answer = forgotten
    document = ask(client, user="ada", model=SUMMARISED)
    assert origin(document) == (None, "unknown user")
    assert document["personakit"]["degraded"] is None
    assert content(document) == "Draft: The train is late."
    assert failures(caplog) == []
    stubs.summariser.answer = lambda prompt, limit: str(1 / 0)
    assert ask(client, user="bob", model=SUMMARISED)["personakit"]["degraded"] == (
        "the summary failed (ZeroDivisionError)"
    )
    assert failures(caplog) == [("summary", "ZeroDivisionError")]


def test_only_steps_that_were_taken_are_timed(client: TestClient, stubs: Stubs) -> None:
    stubs.base.seconds = 0.01
    ask(client, user="ada", model=SUMMARISED)  # its answer is no draft of the base model
    ask(client, user="ada", model=BASE)
    text = client.get("/metrics").text
    assert "personakit_base_seconds_count 1.0" in text
    assert "personakit_rewrite_seconds_count 1.0" in text


def test_summaries_that_wait_for_the_database_keep_no_reader_waiting(
    client: TestClient, stubs: Stubs, store: ProfileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    tenant = store.tenant()
    monkeypatch.setattr(TenantStore, "keep_summary", lambda *given, **options: go_on.wait(60))
    users = [f"user-{number}" for number in range(40)]  # more than asyncio's own pool has threads
    tenant.load([(user, [({"text": f"I am {user}."}, None)]) for user in users])
    threads = [
        threading.Thread(target=ask, args=(client,), kwargs={"user": user, "model": SUMMARISED})
        for user in users
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 30
    try:
        while len(stubs.summariser.prompts) < len(users):
            assert time.monotonic() < end
            time.sleep(0.01)
        assert ask(client, user="ada", model=RUN)["personakit"]["personalised"]
    finally:
        go_on.set()
        for thread in threads:
            thread.join()


def test_a_summary_of_items_that_are_gone_is_not_kept(store: ProfileStore) -> None:
    tenant = store.tenant()
    basis = basis_of(tenant.items("ada"), "v1")
    assert not tenant.keep_summary("ada", SUMMARISED, "other model", basis=basis, version="v2")
    assert tenant.keep_summary("ada", SUMMARISED, "kept", basis=basis, version="v1")
    tenant.replace_item("ada", 1, {"text": "new"}, None)
    assert not tenant.keep_summary("ada", SUMMARISED, "old", basis=basis, version="v1")
    assert stored(store) is None
    tenant.put_summary("ada", SUMMARISED, "by hand")
    basis = basis_of(tenant.items("ada"), "v1")
    assert not tenant.keep_summary("ada", SUMMARISED, "inferred", basis=basis, version="v1")
    tenant.forget("ada")
    with pytest.raises(UnknownError):
        tenant.keep_summary("ada", SUMMARISED, "inferred", basis=basis_of([], "v1"), version="v1")
    assert not tenant.exists("ada")
