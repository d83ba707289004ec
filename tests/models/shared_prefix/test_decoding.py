from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from transformers import DynamicCache, StaticCache

from personakit.models.shared_prefix import share_prefixes, unshare_prefixes
from personakit.models.shared_prefix.decoding import SharedPrefixDecoding

from .families import batch, draw, make, nested, pair, positions_of, relative


def prompts() -> tuple[torch.Tensor, torch.Tensor]:
    """Ragged, padded on the left, shuffled, nested, some of them identical, one hole."""
    ids, mask = batch(nested(), "left")
    mask[2, -20] = 0
    return ids, mask


def shared_pair(family: str = "Llama", **settings: Any) -> tuple[Any, Any]:
    dense, shared = pair(family, **settings)
    share_prefixes(shared).min_saved_states = 0
    return dense, shared


def generate(model: Any, ids: torch.Tensor, mask: torch.Tensor, **given: Any) -> torch.Tensor:
    torch.manual_seed(0)
    given = {"max_new_tokens": 12, "eos_token_id": None, "pad_token_id": 0} | given
    found: torch.Tensor = model.generate(input_ids=ids, attention_mask=mask, **given)
    return found


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each call that attended over shared states, in tests that must not pass without."""
    rows: list[int] = []
    attend = SharedPrefixDecoding.attend

    def counted(self: SharedPrefixDecoding, layer: int, query: torch.Tensor, *rest: Any) -> torch.Tensor:
        if len(query) != 3:  # the self-check's
            rows.append(len(query))
        return attend(self, layer, query, *rest)

    monkeypatch.setattr(SharedPrefixDecoding, "attend", counted)
    return rows


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"do_sample": False}, id="greedy"),
        pytest.param({"do_sample": True, "temperature": 0.8, "top_p": 0.9}, id="sampled"),
        pytest.param({"do_sample": True, "num_return_sequences": 3}, id="several"),
        pytest.param({"do_sample": False, "num_beams": 3}, id="beams"),
        pytest.param({"do_sample": False, "num_beams": 4, "num_return_sequences": 2}, id="several beams"),
        pytest.param({"do_sample": True, "eos_token_id": list(range(3, 20))}, id="rows that end early"),
        pytest.param({"do_sample": False, "prefill_chunk_size": 30}, id="prefill in chunks"),
        pytest.param({"do_sample": False, "use_cache": False, "max_new_tokens": 3}, id="no cache"),
    ],
)
def test_completions_are_those_of_the_plain_model(how: dict[str, Any]) -> None:
    dense, shared = shared_pair()
    assert torch.equal(generate(shared, *prompts(), **how), generate(dense, *prompts(), **how))


@pytest.mark.parametrize("family", ["Qwen3", "Mistral", "Phi", "Gemma", "GPT2"])
def test_completions_of_every_family(family: str, decoded: list[int]) -> None:
    dense, shared = shared_pair(family)
    assert torch.equal(
        generate(shared, *prompts(), do_sample=True), generate(dense, *prompts(), do_sample=True)
    )
    assert decoded


@pytest.mark.parametrize("min_saved_states", [0, 10**9], ids=["held once", "written out"])
def test_both_caches(min_saved_states: int, decoded: list[int]) -> None:
    dense, shared = shared_pair()
    share_prefixes(shared).min_saved_states = min_saved_states
    assert torch.equal(generate(shared, *prompts()), generate(dense, *prompts()))
    assert bool(decoded) == (min_saved_states == 0)


def test_prompts_that_are_wholly_shared(decoded: list[int]) -> None:
    dense, shared = shared_pair()
    ids, mask = batch([draw(40, 1)] * 3 + [draw(40, 2)] * 2)
    assert torch.equal(generate(shared, ids, mask), generate(dense, ids, mask))
    assert decoded


@pytest.mark.parametrize("side", ["left", "right"])
def test_nothing_shared(side: str, decoded: list[int]) -> None:
    dense, shared = shared_pair()
    ids, mask = batch([draw(20, 1), draw(20, 2)], side)
    assert torch.equal(generate(shared, ids, mask), generate(dense, ids, mask))
    assert not decoded


@pytest.mark.parametrize(("family", "settings"), [("Mistral", {"sliding_window": 120}), ("Gemma3", {})])
def test_sliding_window_layers_decode_without_sharing(
    family: str, settings: dict[str, Any], decoded: list[int]
) -> None:
    """Completions outgrow the first one's window."""
    dense, shared = shared_pair(family, **settings)
    how = {"max_new_tokens": 30}
    assert torch.equal(generate(shared, *prompts(), **how), generate(dense, *prompts(), **how))
    ids, mask = prompts()
    found = [steps(model, DynamicCache(), ids, mask, (30,))[0] for model in (shared, dense)]
    assert relative(*found) < 1e-9
    assert not decoded


@pytest.mark.parametrize("training", [False, True])
def test_a_static_cache_and_a_checkpointing_model_fall_back(training: bool, decoded: list[int]) -> None:
    dense, shared = shared_pair()
    if training:
        for model in (dense, shared):
            model.train()
            model.gradient_checkpointing_enable()
        how: dict[str, Any] = {}
    else:
        how = {"cache_implementation": "static"}
    assert torch.equal(generate(shared, *prompts(), **how), generate(dense, *prompts(), **how))
    assert not decoded


def test_another_cache_class() -> None:
    dense, shared = shared_pair()
    ids, mask = prompts()
    found = [
        steps(model, StaticCache(config=model.config, max_cache_len=160), ids, mask, (2,))[0]
        for model in (shared, dense)
    ]
    assert relative(*found) < 1e-9


# --- the cache's own methods, and steps of several tokens


def steps(
    model: Any, cache: Any, ids: torch.Tensor, mask: torch.Tensor, widths: tuple[int, ...], change: Any = None
) -> list[torch.Tensor]:
    """Logits of steps of so many tokens each, after a prefill; `change` is done in between."""
    found = []
    with torch.no_grad():
        given = {"position_ids": positions_of(mask)}
        model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **given)
        rows = torch.arange(len(ids))
        for number, width in enumerate(widths):
            if change is not None and number == 1:
                rows = change(cache, rows)
            taken = mask[rows] if number == 0 or change is None else mask[rows % len(ids)]
            new = torch.tensor([draw(width, 7 * int(row) + number) for row in rows])
            past = cache.get_seq_length()
            seen = torch.cat(
                [taken, torch.ones(len(rows), past - mask.shape[1] + width, dtype=torch.long)], 1
            )
            found.append(
                model(
                    input_ids=new,
                    attention_mask=seen,
                    position_ids=positions_of(seen)[:, -width:],
                    past_key_values=cache,
                    use_cache=True,
                ).logits
            )
    return found


def keep(*rows: int) -> Any:
    def change(cache: Any, held: torch.Tensor) -> torch.Tensor:
        cache.batch_select_indices(torch.tensor(rows))
        return held[torch.tensor(rows)]

    return change


def repeat(cache: Any, held: torch.Tensor) -> torch.Tensor:
    cache.batch_repeat_interleave(2)
    return held.repeat_interleave(2)


def reorder(cache: Any, held: torch.Tensor) -> torch.Tensor:
    order = torch.tensor([4, 4, 0, 8, 7, 1, 1, 2, 3])
    cache.reorder_cache(order)
    return held[order]


def shorten(cache: Any, held: torch.Tensor) -> torch.Tensor:
    cache.crop(-1)
    return held


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(None, id="none"),
        pytest.param(keep(8, 0, 3), id="rows chosen"),
        pytest.param(keep(1), id="every row of a segment gone"),
        pytest.param(keep(6, 6, 0, 6), id="rows repeated"),
        pytest.param(repeat, id="repeat"),
        pytest.param(reorder, id="reorder"),
        pytest.param(shorten, id="crop"),
    ],
)
def test_steps_of_several_tokens_and_changed_rows(change: Any, decoded: list[int]) -> None:
    dense, shared = shared_pair()
    ids, mask = prompts()
    found, expected = (
        steps(model, DynamicCache(), ids, mask, (3, 1, 4, 1), change) for model in (shared, dense)
    )
    for ours, plain in zip(found, expected, strict=True):
        assert relative(ours, plain) < 1e-9
    assert decoded


def test_bfloat16_decodes_no_worse_than_dense() -> None:
    exact, shared = pair(double=False)
    dense = make(double=False)
    share_prefixes(shared).min_saved_states = 0
    ids, mask = prompts()
    expected = steps(exact, DynamicCache(), ids, mask, (1, 1, 3))
    for weights in (False, True):
        if weights:
            dense.to(torch.bfloat16), shared.to(torch.bfloat16)
        errors = []
        for model in (dense, shared):
            with torch.autocast("cpu", torch.bfloat16, enabled=not weights):
                found = steps(model, DynamicCache(), ids, mask, (1, 1, 3))
            errors.append(sum(relative(a, b) for a, b in zip(found, expected, strict=True)))
        assert errors[1] < 1.1 * errors[0]


# --- what a cache over shared prompts cannot do is an error, never a wrong answer


def started(model: Any) -> DynamicCache:
    cache = DynamicCache()
    ids, mask = prompts()
    with torch.no_grad():
        model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True)
    return cache


def test_a_step_that_asks_for_hidden_states_is_refused() -> None:
    _, shared = shared_pair()
    cache = started(shared)
    with torch.no_grad(), pytest.raises(ValueError, match="hidden states"):
        shared(torch.full((9, 1), 5), past_key_values=cache, use_cache=True, output_hidden_states=True)


def test_a_step_after_sharing_was_undone_is_refused() -> None:
    _, shared = shared_pair()
    cache = started(shared)
    unshare_prefixes(shared)
    with torch.no_grad(), pytest.raises(ValueError, match="create a new cache"):
        shared(torch.full((9, 1), 5), past_key_values=cache, use_cache=True)


def test_the_cache_is_freed_with_its_last_reference() -> None:
    _, shared = shared_pair()
    gc.collect()
    gc.disable()
    try:
        cache = started(shared)
        held = [weakref.ref(cache.shared_prefix), *(weakref.ref(layer) for layer in cache.layers)]
        assert all(reference() is not None for reference in held)
        del cache
        assert all(reference() is None for reference in held)
    finally:
        gc.enable()
