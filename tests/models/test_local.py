from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest
import torch

from personakit.contracts import LanguageModel
from personakit.errors import UserError
from personakit.models import scoring
from personakit.models.local import LocalModel
from personakit.models.open import open_language_model

from .tiny import make_tiny, sentences


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> LocalModel:
    return LocalModel.load(str(tiny_folder), device="cpu")


def with_transformers(model: LocalModel, prompt: str, new: int) -> str:
    """One prompt at a time through `transformers.generate`: the reference."""
    ids = model.tokenizer(prompt, return_tensors="pt")["input_ids"]
    output = model.model.generate(ids, max_new_tokens=new, do_sample=False)
    return model.tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("kind", ["llama", "sliding"])
def test_greedy_equals_transformers_generate_whatever_the_batch(tmp_path: Path, kind: str) -> None:
    model = LocalModel.load(str(make_tiny(tmp_path / kind, kind=kind)), device="cpu", batch_rows=7)
    prompts = sentences(23)
    answers = model.generate(prompts, max_new_tokens=12)
    assert [row[0] for row in answers] == [with_transformers(model, prompt, 12) for prompt in prompts]
    assert len({row[0] for row in answers}) > 5  # the model does tell prompts apart


def test_answers_stop_at_the_end_token(tiny_folder: Path) -> None:
    model = LocalModel.load(str(tiny_folder), device="cpu")
    prompts = sentences(12, seed=1)
    free = [row[0] for row in model.generate(prompts, max_new_tokens=12)]
    some = model.tokenizer.encode(free[0])[3]
    model = LocalModel.load(str(tiny_folder), device="cpu")
    model.model.generation_config.eos_token_id = [1, some]
    ended = [row[0] for row in model.generate(prompts, max_new_tokens=12)]
    stop = model.tokenizer.decode([some])
    assert ended[0] != free[0]
    for long, short in zip(free, ended, strict=True):
        assert short.split() == list(itertools.takewhile(lambda word: word != stop, long.split()))


def test_no_prompts_give_no_answers(model: LocalModel) -> None:
    assert model.generate([], max_new_tokens=3) == []
    assert model.score([], []) == []


def test_samples_depend_only_on_prompt_seed_and_number(model: LocalModel) -> None:
    prompts = sentences(9, seed=2)
    together = model.generate(prompts, samples=3, max_new_tokens=8, temperature=1.0, seed=5)
    alone = [
        model.generate([prompt], samples=3, max_new_tokens=8, temperature=1.0, seed=5)[0]
        for prompt in prompts
    ]
    assert together == alone
    assert all(len(set(row)) == 3 for row in together)
    assert together != model.generate(prompts, samples=3, max_new_tokens=8, temperature=1.0, seed=6)


def test_sampling_follows_the_models_probabilities(model: LocalModel) -> None:
    prompt = "the cat"
    ids = model.tokenizer(prompt, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = torch.softmax(model.model(ids).logits[0, -1] / 2.0, dim=-1)
    drawn = model.generate([prompt], samples=4000, max_new_tokens=1, temperature=2.0)[0]
    likeliest = int(expected.argmax())
    share = drawn.count(model.tokenizer.decode([likeliest])) / len(drawn)
    assert share == pytest.approx(float(expected[likeliest]), abs=0.03)


def test_greedy_samples_are_copies(model: LocalModel) -> None:
    (row,) = model.generate(["the dog"], samples=3, max_new_tokens=4)
    assert row == [row[0]] * 3


@pytest.mark.parametrize("kind", ["llama", "sliding"])
def test_score_is_the_sum_of_token_log_probabilities_and_the_end(tmp_path: Path, kind: str) -> None:
    model = LocalModel.load(str(make_tiny(tmp_path / kind, kind=kind)), device="cpu", batch_rows=5)
    prompts, answers = sentences(13, seed=3), [*sentences(12, seed=4, longest=6), ""]
    scores = model.score(prompts, answers)
    for prompt, answer, score in zip(prompts, answers, scores, strict=True):
        before = model.tokenizer.encode(prompt)
        after = [*model.tokenizer.encode(answer), model.tokenizer.eos_token_id]
        with torch.no_grad():
            log_p = torch.log_softmax(model.model(torch.tensor([before + after])).logits[0].double(), dim=-1)
        expected = sum(float(log_p[len(before) - 1 + i, token]) for i, token in enumerate(after))
        assert score == pytest.approx(expected, abs=1e-3)


def test_an_answer_that_has_begun_is_scored_from_there(tmp_path: Path) -> None:
    model = LocalModel.load(str(make_tiny(tmp_path / "chat", chat=True)), device="cpu")
    given = model.score(["the cat"], ["blue mat"], begun=["old house "])
    before = model.tokenizer.encode("<user> the cat <assistant> old house")
    after = [*model.tokenizer.encode("blue mat"), model.tokenizer.eos_token_id]
    with torch.no_grad():
        log_p = torch.log_softmax(model.model(torch.tensor([before + after])).logits[0].double(), dim=-1)
    expected = sum(float(log_p[len(before) - 1 + i, token]) for i, token in enumerate(after))
    assert given == pytest.approx([expected], abs=1e-3)


def test_scoring_in_pieces_equals_scoring_at_once(model: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts, answers = sentences(8, seed=5), sentences(8, seed=6)
    whole = model.score(prompts, answers)
    monkeypatch.setitem(scoring._LOGITS, "cpu", 1)
    assert model.score(prompts, answers) == pytest.approx(whole, abs=1e-3)


def test_a_chat_template_makes_the_prompt_a_user_message(tmp_path: Path) -> None:
    plain = LocalModel.load(str(make_tiny(tmp_path / "plain")), device="cpu")
    chat = LocalModel.load(str(make_tiny(tmp_path / "chat", chat=True)), device="cpu")
    asked = [f"<user> {text} <assistant>" for text in sentences(5, seed=7)]
    assert chat.generate(sentences(5, seed=7), max_new_tokens=6) == plain.generate(asked, max_new_tokens=6)


def test_a_prompt_longer_than_the_context_window_is_refused(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "small", window=32)
    prompts = ["the cat", " ".join(["mat"] * 40)]
    with pytest.raises(UserError, match=r"prompt 2 of 2 has \d+ tokens, expected at most 28"):
        LocalModel.load(str(folder), device="cpu").generate(prompts, max_new_tokens=4)
    cut = LocalModel.load(str(folder), device="cpu", truncate=True).generate(prompts, max_new_tokens=4)
    assert len(cut) == 2
    with pytest.raises(UserError, match="leave no space"):
        LocalModel.load(str(folder), device="cpu").generate(["a"], max_new_tokens=32)


def test_truncation_keeps_both_ends(tmp_path: Path) -> None:
    model = LocalModel.load(str(make_tiny(tmp_path / "small", window=32)), device="cpu", truncate=True)
    texts = ["red " * 14 + middle * 30 + "blue " * 14 for middle in ("house ", "dog ")]
    first, second = model.generate(texts, max_new_tokens=4)
    assert first == second
    assert model.generate(["red " * 14 + "blue " * 14], max_new_tokens=4)[0] == first


@pytest.mark.parametrize("option", [{"samples": 0}, {"max_new_tokens": 0}, {"temperature": -1.0}])
def test_invalid_decoding_options_are_refused(model: LocalModel, option: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(option))):
        model.generate(["a"], **({"max_new_tokens": 2} | option))


def test_the_fingerprint_depends_on_the_weights_and_not_on_the_path(tmp_path: Path) -> None:
    first = make_tiny(tmp_path / "first", seed=0)
    copy = Path(shutil.copytree(first, tmp_path / "copy"))
    second = make_tiny(tmp_path / "second", seed=1)
    prints = [LocalModel.load(str(folder), device="cpu").fingerprint for folder in (first, copy, second)]
    assert prints[0] == prints[1] != prints[2]


def test_an_adapter_folder_loads_with_its_base(tiny_folder: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    base = LocalModel.load(str(tiny_folder), device="cpu")
    tuned = LocalModel.load(str(tiny_folder), device="cpu")
    torch.manual_seed(0)
    network = get_peft_model(
        tuned.model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    )
    network.save_pretrained(tmp_path / "adapter")
    alone = open_language_model(str(tmp_path / "adapter"), device="cpu")
    beside = open_language_model(str(tiny_folder), adapter=tmp_path / "adapter", device="cpu")
    prompts = sentences(6, seed=8)
    answers = alone.generate(prompts, max_new_tokens=6)
    assert answers == beside.generate(prompts, max_new_tokens=6)
    assert answers != base.generate(prompts, max_new_tokens=6)
    assert alone.fingerprint != base.fingerprint


def test_it_is_a_language_model(model: LocalModel) -> None:
    assert isinstance(model, LanguageModel)
    assert model.count_tokens("the cat sat") == len(model.tokenizer.encode("the cat sat"))


def test_models_that_do_not_exist(tmp_path: Path, tiny_folder: Path) -> None:
    with pytest.raises(UserError, match='"no/such-model" is neither a folder nor available'):
        open_language_model("no/such-model")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"has no config\.json"):
        open_language_model(str(tmp_path / "empty"))
    broken = Path(shutil.copytree(tiny_folder, tmp_path / "broken"))
    (broken / "model.safetensors").unlink()
    with pytest.raises(UserError, match="cannot be loaded"):
        open_language_model(str(broken))
    with pytest.raises(UserError, match=r"has no adapter_config\.json"):
        open_language_model(str(tiny_folder), adapter=tmp_path / "empty")
