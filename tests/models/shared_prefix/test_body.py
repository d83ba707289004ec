from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from personakit.models.shared_prefix import Sharing, share_prefixes, unshare_prefixes

from .families import (
    FAMILIES,
    batch,
    draw,
    gradients,
    log_probabilities,
    make,
    nested,
    pair,
    positions_of,
    relative,
)


def same_pass(
    dense: Any, shared: Any, ids: torch.Tensor, mask: torch.Tensor, tolerance: float, **given: Any
) -> None:
    """Log-probabilities and gradients of all weights."""
    found = []
    for model in (dense, shared):
        model.zero_grad()
        values = log_probabilities(model, ids, mask, **given)
        (values**2).sum().backward()
        found.append((values, gradients(model)))
    for expected, ours in zip(*found, strict=True):
        assert relative(ours, expected) < tolerance


@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_and_gradients_are_the_dense_ones(family: str) -> None:
    dense, shared = pair(family)
    handle = share_prefixes(shared)
    for side in ("right", "left"):
        ids, mask = batch(nested(), side)
        for positions in (None, positions_of(mask)):
            same_pass(dense, shared, ids, mask, 1e-9, position_ids=positions)
    assert handle.reason is None
    assert handle.computed_tokens < 0.6 * handle.dense_tokens


def test_float32_agrees_to_rounding() -> None:
    dense, shared = pair(double=False)
    share_prefixes(shared)
    same_pass(dense, shared, *batch(nested()), 1e-5)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(data=st.data())
def test_any_ragged_batch(data: st.DataObject) -> None:
    dense, shared = _pair_of_llamas()
    stretches = [draw(count, 50 + count) for count in (33, 37, 41)]
    pieces = st.lists(st.sampled_from(range(3)), max_size=3)
    rows = [
        [token for piece in data.draw(pieces) for token in stretches[piece]]
        + draw(data.draw(st.integers(0, 9)), number)
        for number in range(data.draw(st.integers(1, 6)))
    ]
    ids, mask = batch([*rows, [5, 6]], data.draw(st.sampled_from(["left", "right"])))
    for row in range(len(ids)):
        if data.draw(st.booleans()):  # a hole
            mask[row, data.draw(st.integers(0, ids.shape[1] - 1))] = 0
    # A row whose first token is hidden predicts nothing from there; its own tokens count all the same.
    with torch.no_grad():
        found, expected = (
            model(input_ids=ids, attention_mask=mask, use_cache=False).logits[mask.bool()]
            for model in (shared, dense)
        )
    if mask.any():
        assert relative(found, expected) < 1e-9


_LLAMAS: list[Any] = []


def _pair_of_llamas() -> tuple[Any, Any]:
    if not _LLAMAS:
        _LLAMAS.extend(pair())
        share_prefixes(_LLAMAS[1])
    return _LLAMAS[0], _LLAMAS[1]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([draw(50, 0)], id="one row"),
        pytest.param([draw(50, 0)] * 4, id="identical rows"),
        pytest.param([draw(50, 0)[:n] for n in (50, 36, 40, 33)], id="prefixes of each other"),
        pytest.param([draw(50, n) for n in range(3)], id="nothing shared"),
        pytest.param([draw(50, 0), [], draw(50, 0)], id="an empty row"),
    ],
)
def test_odd_batches(rows: list[list[int]]) -> None:
    dense, shared = _pair_of_llamas()
    same_pass(dense, shared, *batch(rows), 1e-9)


def test_a_batch_of_padding_passes() -> None:
    _, shared = _pair_of_llamas()
    ids = torch.full((2, 50), 5)
    logits = shared(input_ids=ids, attention_mask=torch.zeros_like(ids), use_cache=False).logits
    assert logits.isfinite().all()


@pytest.mark.parametrize("weights", [True, False], ids=["weights", "autocast"])
def test_bfloat16_is_no_worse_than_dense(weights: bool) -> None:
    exact = make(double=False)
    dense, shared = (copy.deepcopy(exact) for _ in range(2))
    handle = share_prefixes(shared)
    if weights:
        dense.to(torch.bfloat16), shared.to(torch.bfloat16)
    errors = [0.0, 0.0]
    for seed in range(6):
        prompt = draw(150, seed)
        ids, mask = batch([prompt + draw(20 + n, 10 * seed + n) for n in range(4)])
        with torch.no_grad():
            expected = exact(input_ids=ids, attention_mask=mask, use_cache=False).logits[mask.bool()]
            with torch.autocast("cpu", torch.bfloat16, enabled=not weights):
                for number, model in enumerate((dense, shared)):
                    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
                    errors[number] += relative(logits[mask.bool()], expected)
    assert handle.reason is None
    assert errors[1] < 1.1 * errors[0]


def test_gradients_under_autocast_are_no_worse_than_dense() -> None:
    exact = make(double=False)
    dense, shared = (copy.deepcopy(exact) for _ in range(2))
    share_prefixes(shared)
    ids, mask = batch(nested())
    found = []
    for model in (exact, dense, shared):
        with torch.autocast("cpu", torch.bfloat16, enabled=model is not exact):
            values = log_probabilities(model, ids, mask)
        values.float().sum().backward()
        found.append(gradients(model))
    assert relative(found[2], found[0]) < 1.1 * relative(found[1], found[0])


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing(reentrant: bool) -> None:
    dense, shared = pair()
    handle = share_prefixes(shared)
    for model in (dense, shared):
        model.train()
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    same_pass(dense, shared, *batch(nested()), 1e-9)
    assert handle.computed_tokens < handle.dense_tokens


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_without_gradients_and_then_with_them(context: Any) -> None:
    dense, shared = pair()
    share_prefixes(shared)
    ids, mask = batch(nested())
    with context():
        assert relative(log_probabilities(shared, ids, mask), log_probabilities(dense, ids, mask)) < 1e-9
    same_pass(dense, shared, *batch(nested()[:5]), 1e-9)  # of another shape


def test_the_mask_gives_the_same_pass() -> None:
    dense, shared = pair()
    share_prefixes(shared).backend = "mask"
    same_pass(dense, shared, *batch(nested()), 1e-9)


# --- adapters


def adapted(model: Any, **settings: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    common = {"r": 2, "target_modules": "all-linear", "init_lora_weights": False}
    return get_peft_model(model, LoraConfig(**common | settings))


@pytest.mark.parametrize("before", [True, False], ids=["shared before PEFT", "shared after PEFT"])
def test_adapters_switched_and_disabled(before: bool) -> None:
    from peft import LoraConfig

    dense, shared = pair()
    if before:
        share_prefixes(shared)
    dense, shared = adapted(dense), adapted(shared)
    if not before:
        share_prefixes(shared)
    handle = share_prefixes(shared)
    for model in (dense, shared):
        torch.manual_seed(1)
        model.add_adapter("other", LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
        model.to(torch.float64)
    ids, mask = batch(nested())
    seen = []
    for name in ("default", "other"):
        dense.set_adapter(name), shared.set_adapter(name)
        same_pass(dense, shared, ids, mask, 1e-9)
        seen.append(log_probabilities(shared, ids, mask).detach())
    with dense.disable_adapter(), shared.disable_adapter(), torch.no_grad():
        seen.append(log_probabilities(shared, ids, mask))
        assert relative(seen[2], log_probabilities(dense, ids, mask)) < 1e-9
    assert min(relative(seen[0], seen[1]), relative(seen[1], seen[2]), relative(seen[2], seen[0])) > 1e-3
    assert handle.computed_tokens < handle.dense_tokens


def test_a_different_adapter_per_row_runs_dense(caplog: pytest.LogCaptureFixture) -> None:
    dense, shared = (adapted(model).eval() for model in pair())
    handle = share_prefixes(shared)
    prompt = draw(50, 0)
    ids, mask = batch([prompt + draw(4, 1), prompt + draw(4, 2), prompt + draw(4, 1)])
    names = ["default", "__base__", "__base__"]
    with torch.no_grad():
        for _ in range(2):
            found, expected = (
                log_probabilities(model, ids, mask, adapter_names=names) for model in (shared, dense)
            )
            assert torch.equal(found, expected)
        assert handle.computed_tokens == handle.dense_tokens
        tokens = [
            model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=6, do_sample=False, adapter_names=names
            )
            for model in (shared, dense)
        ]
    assert torch.equal(*tokens)
    assert caplog.text.count("a different adapter per row") == 1


def test_a_different_adapter_start_per_row_runs_dense() -> None:
    settings = {"task_type": "CAUSAL_LM", "alora_invocation_tokens": [50, 51], "target_modules": ["q_proj"]}
    dense, shared = (adapted(model, **settings).eval() for model in pair())
    handle = share_prefixes(shared)
    prompt = [token % 40 + 3 for token in draw(50, 0)]
    ids, mask = batch([prompt + [7] * n + [50, 51, 8, 9] for n in (1, 2, 3)])
    with torch.no_grad():
        assert torch.equal(*(log_probabilities(model, ids, mask) for model in (shared, dense)))
    assert handle.computed_tokens == handle.dense_tokens


# --- sliding windows, dropout, noise


@pytest.mark.parametrize(
    ("family", "window", "served"),
    [
        ("Mistral", 200, True),
        ("Mistral", 60, False),
        ("Gemma3", 200, True),
        ("Gemma3", 60, False),
    ],
)
def test_a_sliding_window(family: str, window: int, served: bool, caplog: pytest.LogCaptureFixture) -> None:
    dense, shared = pair(family, sliding_window=window)
    handle = share_prefixes(shared)
    for _ in range(2):
        same_pass(dense, shared, *batch(nested()), 1e-9)
    assert (handle.computed_tokens < handle.dense_tokens) == served
    assert caplog.text.count("sliding window") == (not served)


def test_attention_dropout_runs_dense_while_training(caplog: pytest.LogCaptureFixture) -> None:
    dense, shared = pair(attention_dropout=0.5)
    handle = share_prefixes(shared)
    ids, mask = batch(nested())
    found = []
    for model in (dense, shared):
        model.train()
        torch.manual_seed(0)
        found.append(log_probabilities(model, ids, mask))
        model.eval()
    assert torch.equal(*found)
    assert handle.computed_tokens == handle.dense_tokens
    assert caplog.text.count("dropout") == 1
    same_pass(dense, shared, ids, mask, 1e-9)
    assert handle.computed_tokens < handle.dense_tokens


def test_neftune_runs_dense_while_training() -> None:
    from transformers.integrations.neftune import neftune_post_forward_hook

    dense, shared = pair()
    share_prefixes(shared)
    ids, mask = batch(nested())
    found = []
    for model in (dense, shared):
        embeddings = model.get_input_embeddings()
        embeddings.neftune_noise_alpha = 5.0
        embeddings.register_forward_hook(neftune_post_forward_hook)
        model.train()
        torch.manual_seed(0)
        found.append(log_probabilities(model, ids, mask))
    assert torch.equal(*found)


# --- what a packed row cannot give goes to the body itself


def test_restarting_positions_are_packed_sequences() -> None:
    dense, shared = _pair_of_llamas()
    ids = torch.tensor([draw(90, 0)] * 3)
    ids[1, 70:], ids[2, 80:] = 5, 6
    restarting = torch.cat([torch.arange(50), torch.arange(40)]).repeat(3, 1)
    with torch.no_grad():
        for positions in (restarting, restarting[:1], torch.arange(90)[None], torch.arange(90)[None] * 2):
            found, expected = (
                model(input_ids=ids, position_ids=positions, use_cache=False).logits
                for model in (shared, dense)
            )
            assert relative(found, expected) < 1e-9


@pytest.mark.parametrize(
    "given",
    [
        {"output_hidden_states": True},
        {"return_dict": False},
        {"use_cache": None},
        {"use_cache": True},
    ],
)
def test_other_outputs(given: dict[str, Any]) -> None:
    dense, shared = _pair_of_llamas()
    ids, mask = batch(nested())
    given = {"input_ids": ids, "attention_mask": mask, "use_cache": False} | given
    with torch.no_grad():
        for found, expected in (
            (shared(**given), dense(**given)),
            (shared.model(**given), dense.model(**given)),
        ):
            assert type(found) is type(expected)
            assert relative(found[0][mask.bool()], expected[0][mask.bool()]) < 1e-9
            if "output_hidden_states" in given:
                for ours, theirs in zip(found.hidden_states, expected.hidden_states, strict=True):
                    assert torch.equal(ours, theirs)


def test_outputs_requested_by_the_configuration() -> None:
    _, shared = pair()
    share_prefixes(shared)
    shared.config.output_hidden_states = True
    ids, mask = batch(nested())
    states = shared(input_ids=ids, attention_mask=mask, use_cache=False).hidden_states
    assert [state.shape[:2] for state in states] == [ids.shape] * 4


def test_token_types_embeddings_and_4d_masks() -> None:
    ids, mask = batch(nested())
    dense, shared = pair("GPT2")
    share_prefixes(shared)
    with torch.no_grad():
        found, expected = (log_probabilities(m, ids, mask, token_type_ids=mask) for m in (shared, dense))
        assert torch.equal(found, expected)
    dense, shared = _pair_of_llamas()
    square = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
    square = square & mask[:, None, None, :].bool()
    with torch.no_grad():
        for given in (
            {"inputs_embeds": dense.get_input_embeddings()(ids), "attention_mask": mask},
            {"input_ids": ids, "attention_mask": square},
        ):
            found, expected = (model(**given, use_cache=False).logits for model in (shared, dense))
            assert torch.equal(found[mask.bool()], expected[mask.bool()])


def test_an_empty_cache_is_filled_even_without_use_cache() -> None:
    from transformers import DynamicCache

    _, shared = _pair_of_llamas()
    ids, mask = batch(nested())
    cache = DynamicCache()
    with torch.no_grad():
        shared(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=False)
    assert cache.get_seq_length() == ids.shape[1]


def test_only_the_last_logits() -> None:
    dense, shared = _pair_of_llamas()
    ids, mask = batch([row for row in nested() if len(row) > 40], "left")
    with torch.no_grad():
        found, expected = (
            model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=2).logits
            for model in (shared, dense)
        )
    assert relative(found, expected) < 1e-9


# --- wanted positions


def test_output_positions_are_returned_in_row_order_and_reset() -> None:
    dense, shared = pair()
    handle: Sharing = share_prefixes(shared)
    ids, mask = batch(nested())
    wanted = torch.zeros_like(mask, dtype=torch.bool)
    wanted[0, 5], wanted[0, 80], wanted[1, 34], wanted[6, 110] = True, True, True, True
    for rows in (slice(None), slice(1, 3)):  # shared, and not worth sharing
        given = {"input_ids": ids[rows], "attention_mask": mask[rows], "use_cache": False}
        with torch.no_grad():
            expected = dense.model(**given).last_hidden_state
            handle.output_positions = wanted[rows]
            found = shared.model(**given).last_hidden_state
            assert relative(found, expected[wanted[rows]][None]) < 1e-9
            whole = shared.model(**given).last_hidden_state
            assert relative(whole[mask[rows].bool()], expected[mask[rows].bool()]) < 1e-9


def test_a_dense_batch_with_gaps_in_its_positions_keeps_its_mask() -> None:
    """Without a mask transformers would read a gap as the beginning of another row."""
    dense, shared = pair()
    handle = share_prefixes(shared)
    ids, mask = batch([draw(50, 1), draw(49, 2)])
    positions = torch.arange(50)[None] + 7 * (torch.arange(50) >= 20)
    given = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "use_cache": False}
    wanted = mask.bool() & (torch.arange(50) > 30)
    handle.output_positions = wanted
    with torch.no_grad():
        found, expected = (model.model(**given).last_hidden_state for model in (shared, dense))
    assert relative(found[0], expected[wanted]) < 1e-9


def test_output_positions_are_reset_after_a_failed_call() -> None:
    _, shared = pair()
    handle = share_prefixes(shared)
    handle.output_positions = torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(IndexError):
        shared.model(input_ids=torch.tensor([[500, 5, 5]]), use_cache=False)
    assert handle.output_positions is None


# --- the model as an object


def test_a_deep_copy_is_bound_to_the_copy() -> None:
    dense, shared = pair()
    share_prefixes(shared)
    copied = copy.deepcopy(shared)
    with torch.no_grad():
        for model in (dense, copied):
            for parameter in model.parameters():
                parameter.mul_(0.5)
    same_pass(dense, copied, *batch(nested()), 1e-9)
    assert share_prefixes(copied) is not share_prefixes(shared)
    assert share_prefixes(shared).dense_tokens == 0


def test_sharing_twice_is_harmless_and_can_be_undone() -> None:
    dense, shared = pair()
    handle = share_prefixes(shared)
    assert share_prefixes(shared) is handle
    ids, mask = batch(nested())
    same_pass(dense, shared, ids, mask, 1e-9)
    unshare_prefixes(shared)
    unshare_prefixes(shared)
    with torch.no_grad():
        assert torch.equal(*(log_probabilities(model, ids, mask) for model in (shared, dense)))
    assert shared.config._attn_implementation == "sdpa"
    assert not {"forward", "shared_prefix"} & set(shared.model.__dict__)
    assert "forward" not in shared.model.layers[-1].__dict__
    assert share_prefixes(shared) is not handle
    same_pass(dense, shared, ids, mask, 1e-9)


def test_a_later_change_of_attention_is_respected(caplog: pytest.LogCaptureFixture) -> None:
    dense, shared = pair(double=False)
    share_prefixes(shared)
    shared.set_attn_implementation("eager")
    for _ in range(2):
        same_pass(dense, shared, *batch(nested()), 1e-4)
    assert caplog.text.count("attention was set to") == 1


def test_two_models_with_one_configuration_object() -> None:
    first = make()
    second = type(first)(first.config).double().eval()
    assert first.config is second.config
    assert share_prefixes(first).reason is None
    assert share_prefixes(second).reason is None
    unshare_prefixes(second)
    dense = copy.deepcopy(first)
    unshare_prefixes(dense)
    same_pass(dense, first, *batch(nested()), 1e-9)


def test_a_saved_model_is_a_plain_one(tmp_path: Path) -> None:
    dense, shared = pair(double=False)
    share_prefixes(shared)
    ids, mask = batch(nested())
    with torch.no_grad():
        log_probabilities(shared, ids, mask)
    shared.save_pretrained(tmp_path)
    written = (tmp_path / "config.json").read_text() + (tmp_path / "generation_config.json").read_text()
    assert "personakit" not in written
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.config._attn_implementation == "sdpa"
    with torch.no_grad():
        assert torch.equal(*(log_probabilities(model, ids, mask) for model in (loaded, dense)))
