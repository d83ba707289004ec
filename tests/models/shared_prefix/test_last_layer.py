from __future__ import annotations

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from personakit.models.shared_prefix import last_layer, share_prefixes
from personakit.models.shared_prefix.packing import Packing

from .families import batch, draw, gradients, nested, pair, relative

_FIRST_OF_OWN = (75, 33, 40, 108, 0, 40, 108, 75, 0)  # `nested`'s rows: where their tails begin


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The share of tokens that each trimmed pass kept."""
    kept: list[float] = []
    trimmed = last_layer.trimmed

    def counted(packing: Packing, wanted: torch.Tensor, backend: str | None) -> Any:
        found = trimmed(packing, wanted, backend)
        if found is not None:
            kept.append(len(found.kept.places) / packing.tokens)
        return found

    monkeypatch.setattr(last_layer, "trimmed", counted)
    return kept


def of_the_tails() -> torch.Tensor:
    """Each tail's tokens and the one before, which lies in a shared segment; two tokens of a prompt."""
    _, mask = batch(nested())
    columns = torch.arange(mask.shape[1])
    wanted = mask.bool() & (columns >= torch.tensor(_FIRST_OF_OWN)[:, None] - 1)
    wanted[4], wanted[8] = False, False
    wanted[4, 7], wanted[4, 74] = True, True
    return wanted


def same_pass(dense: Any, shared: Any, wanted: torch.Tensor) -> None:
    ids, mask = batch(nested())
    found = []
    for model in (dense, shared):
        model.zero_grad()
        given = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
        if model is shared:
            share_prefixes(model).output_positions = wanted
            states = model.base_model(**given).last_hidden_state
            assert states.shape[:2] == (1, int(wanted.sum()))
        else:
            states = model.base_model(**given).last_hidden_state[wanted][None]
        (states**3).sum().backward()
        found.append((states, gradients(model)))
    for ours, plain in zip(found[1], found[0], strict=True):
        assert relative(ours, plain) < 1e-9


@pytest.mark.parametrize("family", ["Llama", "Qwen3", "Mistral", "Phi", "Gemma", "Gemma3", "GPT2"])
def test_states_and_gradients_of_needed_tokens(family: str, ran: list[float]) -> None:
    dense, shared = pair(family)
    handle = share_prefixes(shared)
    same_pass(dense, shared, of_the_tails())
    assert handle.reason is None
    assert handle.trims_last_layer == (family != "GPT2")
    # The first is the self-check's.
    assert (len(ran) == 2 and max(ran) < 0.8) if handle.trims_last_layer else not ran


@pytest.mark.parametrize("reentrant", [True, False])
def test_with_gradient_checkpointing(reentrant: bool, ran: list[float]) -> None:
    dense, shared = pair()
    share_prefixes(shared)
    for model in (dense, shared):
        model.train()
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    for _ in range(2):
        same_pass(dense, shared, of_the_tails())
    assert len(ran) == 3
    assert shared.model.layers[-1].gradient_checkpointing
    assert shared.model.layers[-1].forward.__func__ is last_layer._forward


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 120)), min_size=1, max_size=8))
def test_any_tokens(places: list[tuple[int, int]]) -> None:
    _, mask = batch(nested())
    wanted = torch.zeros_like(mask, dtype=torch.bool)
    for row, column in places:
        wanted[row, column % int(mask[row].sum())] = True
    if not _MODELS:
        _MODELS.extend(pair())
        share_prefixes(_MODELS[1])
    same_pass(*_MODELS, wanted)


_MODELS: list[Any] = []


def test_the_mask_gives_the_same(ran: list[float]) -> None:
    dense, shared = pair()
    share_prefixes(shared).backend = "mask"
    same_pass(dense, shared, of_the_tails())
    assert ran


def test_lora_dropout_and_a_deep_copy(ran: list[float]) -> None:
    from peft import LoraConfig, get_peft_model

    dense, shared = pair()
    share_prefixes(shared)
    adapted = []
    for model in (dense, copy.deepcopy(shared)):
        torch.manual_seed(1)
        lora = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
        adapted.append(get_peft_model(model, lora).to(torch.float64).get_base_model())
    same_pass(*adapted, of_the_tails())
    assert ran


def test_padding_and_many_needed_tokens_disable_trimming(ran: list[float]) -> None:
    _, shared = pair()
    handle = share_prefixes(shared)
    ids, mask = batch([[*draw(50, 0), 5], draw(50, 0)], "left")
    wanted = torch.ones_like(mask, dtype=torch.bool)
    handle.output_positions = wanted
    with torch.no_grad():
        states = shared.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            use_cache=False,
        ).last_hidden_state
    assert states.shape[1] == ids.numel()
    assert torch.equal(states[0, ids.shape[1]], torch.zeros(32, dtype=torch.float64))  # the padding
    assert len(ran) == 1  # the self-check's


def test_output_positions_are_per_thread() -> None:
    dense, shared = pair()
    handle = share_prefixes(shared)
    ids, mask = batch(nested())
    with torch.no_grad():
        whole = dense.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        shared.model(input_ids=ids, attention_mask=mask, use_cache=False)  # the self-check

    def differs(number: int) -> float:
        wanted = mask.bool() & (torch.arange(mask.shape[1]) >= 20 + 10 * number)
        with torch.no_grad():
            handle.output_positions = wanted
            meet.wait()
            found = shared.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        return relative(found[0], whole[wanted])

    meet = threading.Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(differs, range(4))) < 1e-9
