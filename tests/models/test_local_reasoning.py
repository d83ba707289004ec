"""Local models whose template opens a block of reasoning, and answers that the token limit cuts."""

from __future__ import annotations

from pathlib import Path

import pytest

from personakit.models.cache import AnswerCache, CachedModel
from personakit.models.local import LocalModel
from personakit.models.refusal import Cut, answer_marks, no_answer_reason
from personakit.models.stand_ins import StandIn
from personakit.models.tokens import encode_answers, encode_prompts

from .thinker import make_thinker


@pytest.fixture(scope="module", params=[(), ("<think>", "</think>")], ids=["plain", "special"])
def thinker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    folder = make_thinker(tmp_path_factory.mktemp("thinker"), special=request.param)
    return LocalModel.load(str(folder), device="cpu")


def test_reasoning_that_the_template_opens_is_removed(thinker: LocalModel) -> None:
    [[text], _] = thinker.generate(["what", "else"], max_new_tokens=20)
    assert (text, answer_marks(text)) == ("5", {"refused": None, "error": None, "cut": False})


def test_reasoning_that_the_limit_cuts_is_no_answer_and_not_cached(
    thinker: LocalModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = AnswerCache(tmp_path / "answers.sqlite")
    [[text]] = CachedModel(thinker, cache).generate(["what"], max_new_tokens=3)
    assert text == ""
    assert "all 3 tokens" in (no_answer_reason(text) or "")
    assert "--max-new-tokens" in (no_answer_reason(text) or "")
    assert len(cache) == 0
    assert "gave no answer to 1 of 1 prompts" in caplog.text


def test_reasoning_without_an_answer_fails(tmp_path: Path) -> None:
    folder = make_thinker(tmp_path / "silent", says=("<think>", "perhaps", "</think>", "<eos>"))
    [[text]] = LocalModel.load(str(folder), device="cpu").generate(["what"], max_new_tokens=9)
    assert no_answer_reason(text) == "it reasoned and gave no answer"


def test_answer_that_the_limit_cuts_is_marked_also_from_the_cache(
    thinker: LocalModel, tmp_path: Path
) -> None:
    cache = AnswerCache(tmp_path / "answers.sqlite")
    for _ in range(2):  # made, then cached; the answer "5" has its last token, the limit comes before the end
        [[text]] = CachedModel(thinker, cache).generate(["what"], max_new_tokens=6)
        assert (type(text), text) == (Cut, "5")
    [[text]] = StandIn(CachedModel(thinker, cache), "wordy").generate(["what"], max_new_tokens=6)
    assert isinstance(text, Cut)
    assert len(cache) == 1


def test_answers_close_the_block_in_training_and_scoring(thinker: LocalModel) -> None:
    [prompt] = encode_prompts(thinker.tokenizer, ["what"])
    [answer] = encode_answers(thinker.tokenizer, ["5"])
    words = thinker.tokenizer.convert_ids_to_tokens([*prompt, *answer])
    assert words == ["<user>", "<unk>", "<assistant>", "<think>", "</think>", "5", "<eos>"]
