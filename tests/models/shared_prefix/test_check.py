from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import transformers

from personakit.models.shared_prefix import check, share_prefixes
from personakit.models.shared_prefix import packing as packing_module
from personakit.models.shared_prefix.decoding import SharedPrefixDecoding
from personakit.models.shared_prefix.interface import PackedPass

from .families import batch, draw, log_probabilities, make, nested, pair, relative


def mamba() -> Any:
    torch.manual_seed(0)
    config = transformers.MambaConfig(vocab_size=101, hidden_size=32, num_hidden_layers=2, state_size=4)
    return transformers.MambaForCausalLM(config).eval()


def t5() -> Any:
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=101, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    return transformers.T5ForConditionalGeneration(config).eval()


def eager() -> Any:
    return make(double=False, attn_implementation="eager")


def few_positions() -> Any:
    return (
        make("GPT2", double=False, max_position_embeddings=32)
        .__class__(transformers.GPT2Config(vocab_size=101, n_positions=40, n_embd=32, n_layer=2, n_head=4))
        .eval()
    )


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (mamba, "attention cannot be replaced"),
        (t5, "encoder-decoder"),
        (eager, 'attn_implementation="eager"'),
        (few_positions, "positions are too few"),
    ],
)
def test_an_obstacle_gives_one_warning_and_a_dense_pass(
    build: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    plain = build()
    shared = copy.deepcopy(plain)
    handle = share_prefixes(shared)
    assert share_prefixes(shared) is handle
    prompt = draw(30, 0)
    ids, mask = batch([[*prompt, 5, 6], [*prompt, 7]])
    given = {"input_ids": ids, "attention_mask": mask}
    if plain.config.is_encoder_decoder:
        given["labels"] = ids
    with torch.no_grad():
        for _ in range(2):
            assert torch.equal(shared(**given).logits, plain(**given).logits)
        tokens = [m.generate(input_ids=ids, max_new_tokens=4, do_sample=False) for m in (shared, plain)]
    assert torch.equal(*tokens)
    assert said in (handle.reason or "")
    assert caplog.text.count("runs without shared prefixes") == 1


def test_positions_counted_from_the_mask_are_detected() -> None:
    """OPT's: by its columns a row padded on the left would be read at other positions."""
    torch.manual_seed(0)
    config = transformers.OPTConfig(
        vocab_size=101,
        hidden_size=32,
        num_hidden_layers=2,
        ffn_dim=48,
        num_attention_heads=4,
        word_embed_proj_dim=32,
        max_position_embeddings=200,
        init_std=0.2,
        dropout=0.0,
    )
    dense = transformers.OPTForCausalLM(config).eval()
    shared = copy.deepcopy(dense)
    handle = share_prefixes(shared)
    prompt = draw(50, 0)
    ids, mask = batch(
        [prompt + draw(9, 1), prompt + draw(9, 2), prompt + draw(4, 3), prompt + draw(4, 4)], "left"
    )
    with torch.no_grad():
        found, expected = (
            model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state[
                mask.bool()
            ]
            for model in (shared, dense)
        )
    assert relative(found, expected) < 1e-6
    assert "without positions" in (handle.reason or "")


# --- a model whose shared pass is wrong


def wrong_pass(patch: pytest.MonkeyPatch) -> None:
    attend = PackedPass.attend

    def wrong(self: PackedPass, *given: Any) -> torch.Tensor:
        return attend(self, *given) * 1.01

    patch.setattr(PackedPass, "attend", wrong)


def wrong_decoding(patch: pytest.MonkeyPatch) -> None:
    attend = SharedPrefixDecoding.attend

    def wrong(self: SharedPrefixDecoding, *given: Any) -> torch.Tensor:
        return attend(self, *given) * 1.01

    patch.setattr(SharedPrefixDecoding, "attend", wrong)


def wrong_positions(patch: pytest.MonkeyPatch) -> None:
    pack = packing_module.pack

    def wrong(*given: Any) -> Any:
        found = pack(*given)
        object.__setattr__(found, "positions", torch.arange(found.tokens)[None])
        return found

    patch.setattr("personakit.models.shared_prefix.body.pack", wrong)


def failing(patch: pytest.MonkeyPatch) -> None:
    def fails(self: PackedPass, *given: Any) -> torch.Tensor:
        raise RuntimeError

    patch.setattr(PackedPass, "attend", fails)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (wrong_pass, "shared pass differs by"),
        (wrong_positions, "shared pass differs by"),
        (wrong_decoding, "shared decoding differs by"),
        (failing, "it fails (RuntimeError"),
    ],
)
def test_a_wrong_pass_is_detected_before_use(
    spoil: Any, said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dense, shared = pair()
    handle = share_prefixes(shared)
    spoil(monkeypatch)
    ids, mask = batch(nested())
    with torch.no_grad():
        for _ in range(2):
            assert torch.equal(*(log_probabilities(model, ids, mask) for model in (shared, dense)))
        tokens = [
            model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=4, do_sample=False)
            for model in (shared, dense)
        ]
    assert torch.equal(*tokens)
    assert said in (handle.reason or "")
    assert caplog.text.count("prefix sharing:") == 1


def test_a_wrong_last_layer_alone_disables_trimming(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from personakit.models.shared_prefix import last_layer

    attend = last_layer._KeptQueries.attend
    monkeypatch.setattr(last_layer._KeptQueries, "attend", lambda self, *given: attend(self, *given) * 1.01)
    dense, shared = pair()
    handle = share_prefixes(shared)
    ids, mask = batch(nested())
    wanted = mask.bool() & (mask.cumsum(-1) > 100)
    handle.output_positions = wanted
    with torch.no_grad():
        found = shared.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        expected = dense.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    assert relative(found[0], expected[wanted]) < 1e-9
    assert handle.reason is None
    assert not handle.trims_last_layer
    assert caplog.text.count("computes its last layer for all tokens") == 1


# --- the check itself leaves no trace


def test_the_check_has_no_side_effects() -> None:
    model = make()
    handle = share_prefixes(model)
    model.train()
    model.model.layers[1].eval()
    modes = [module.training for module in model.modules()]
    seen = []
    model.model.register_forward_hook(lambda module, given, output: seen.append(1))
    ids, mask = batch(nested())
    state = torch.get_rng_state()
    model(input_ids=ids, attention_mask=mask, use_cache=False)
    assert handle.checked
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert handle.dense_tokens == ids.numel()
    assert len(seen) == 1
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.model.shared_prefix is handle


def test_an_interrupted_check_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make()
    handle = share_prefixes(model)
    ids, mask = batch(nested())

    def interrupted(body: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(check, "_disagreement", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model(input_ids=ids, attention_mask=mask, use_cache=False)
    assert not handle.checked
    assert model.model.shared_prefix is handle
    model(input_ids=ids, attention_mask=mask, use_cache=False)
    assert handle.checked
    assert handle.reason is None
