"""Sampled summaries end as the chat template ends an answer."""

from __future__ import annotations

from pathlib import Path

from models.chat_templates import FAMILIES, make_tokenizer
from models.shared_prefix.families import make

from personakit.models.local import LocalModel
from personakit.models.tokens import encode_prompts
from personakit.popi.summaries import sample_summaries


def test_a_summary_has_the_end_token_that_was_sampled(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(FAMILIES["Gemma 2"])
    make("Gemma", double=False, vocab_size=len(tokenizer), initializer_range=0.02).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = LocalModel.load(str(tmp_path), device="cpu")
    prompts = encode_prompts(model.tokenizer, ["Why?"])
    [summaries] = sample_summaries(model.model, model.tokenizer, prompts, ["place"], group=48, cap=24, seed=0)
    turn, eos = model.tokenizer.convert_tokens_to_ids(["<end_of_turn>", "<eos>"])
    ended = [summary for summary in summaries if not summary.capped]
    assert {summary.tokens[-1] for summary in ended} >= {turn}
    assert all(summary.tokens[-1] in (turn, eos, 2) for summary in ended)
    assert all(len(summary.tokens) == 24 for summary in summaries if summary.capped)
    assert all("<" not in summary.text for summary in ended)
    assert any(summary.capped for summary in summaries)
