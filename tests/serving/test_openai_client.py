"""The official client, unchanged, against the service on a port of loopback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .stubs import BASE, RUN, SUMMARISED, Stubs, listening

openai = pytest.importorskip("openai")

ADA, BOB = "Heyho, off to the marsh! xx", "Good day to you. Yours, Robert"


@pytest.fixture
def client(stubs: Stubs) -> Iterator[Any]:
    tenant = stubs.service.store.tenant()
    tenant.append("ada", [({"text": ADA}, None)])
    tenant.append("bob", [({"text": BOB}, None)])
    with (
        listening(stubs.service) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="unused", max_retries=0) as made,
    ):
        yield made


def chat(client: Any, **options: Any) -> Any:
    fields = {"model": RUN, "messages": [{"role": "user", "content": "The train is late."}], **options}
    return client.chat.completions.create(**fields)


def test_two_users_get_an_answer_each_in_their_own_way(client: Any) -> None:
    for user, own, other in (("ada", ADA, BOB), ("bob", BOB, ADA)):
        whole = chat(client, user=user)
        text = whole.choices[0].message.content
        assert own in text
        assert other not in text
        assert whole.usage.total_tokens == 5
        assert whole.personakit["personalised"]
        streamed = "".join(
            chunk.choices[0].delta.content or "" for chunk in chat(client, user=user, stream=True)
        )
        assert streamed == text


def test_models_errors_and_own_options(client: Any) -> None:
    assert [model.id for model in client.models.list()] == [RUN, SUMMARISED, BASE]
    assert client.models.retrieve(BASE).id == BASE
    with pytest.raises(openai.NotFoundError) as missing:
        chat(client, model="gpt-x")
    assert (missing.value.code, missing.value.status_code) == ("model_not_found", 404)
    with pytest.raises(openai.BadRequestError, match="temperature"):
        chat(client, temperature=9)
    plain = chat(client, user="ada", extra_body={"personakit": {"personalise": False}})
    assert plain.choices[0].message.content == "Draft: The train is late."
    traced = client.chat.completions.with_raw_response.create(
        model=RUN, user="ada", messages=[{"role": "user", "content": "Hi."}]
    )
    assert '"items": [1]' in traced.headers["x-personakit-trace"]
