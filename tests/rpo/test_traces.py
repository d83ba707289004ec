"""Rewriters without a trace, self-written traces, and drafts that are the given texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cli.tiny import make_run

from personakit.cli import main
from personakit.config import TrainRPO, load
from personakit.data.lamp import write_split
from personakit.errors import UserError
from personakit.models.local import LocalModel
from personakit.records import Context, Profile
from personakit.rpo import filters
from personakit.rpo.choices import REAL_TEXT_WRITER, uses_given_text, with_writer
from personakit.rpo.dataset import DraftedQuery, draft_all, trajectories
from personakit.rpo.filters import TrajectoryFilter
from personakit.rpo.prompts import DRAFT, REWRITE, Trajectory, rewriter_prompt
from personakit.rpo.rewards import reward_functions, task_reward
from personakit.rpo.rewriter import NO_HISTORY, UNREADABLE, Rewriter
from personakit.rpo.self_written import SelfWriter, read_explanation
from personakit.rpo.writer import GOLD, NOTHING, ResponseWriter, TrajectoryWriter
from personakit.tasks import get_task

from .fakes import AllItems, Scripted, count_words, example, gold_of


@pytest.fixture(scope="module")
def rewrites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two users of the rewriting task in each split."""
    folder = tmp_path_factory.mktemp("rewrites")
    for split in ("train", "dev"):
        users = [example("rewriting", f"{split}-{user}") for user in ("ada", "bob")]
        write_split(folder / "rewriting", split, users, user_ids=True)
    return folder


def texts_of(
    writer: TrajectoryWriter, *users: str, traced: bool = True, items: int = 3
) -> tuple[list[tuple[str, str]], dict[str, int]]:
    ones = [example("LaMP_4", user, items=items) for user in users]
    drafted = [DraftedQuery(get_task("LaMP_4"), one, "a draft", Context(one.profile.items)) for one in ones]
    texts, counts = trajectories(
        drafted,
        writer,
        TrajectoryFilter(count_words, max_tokens=20, traced=traced),
        count_tokens=count_words,
        max_length=500,
        no_history_share=0.0,
        seed=0,
    )
    return [(text.prompt, text.completion) for text in texts], counts.summary()


def test_a_response_without_a_trace_is_the_answer_alone() -> None:
    [(prompt, completion)], counts = texts_of(ResponseWriter(), "ada", traced=False)
    assert completion == gold_of("LaMP_4", "ada")
    assert DRAFT + "a draft" in prompt
    assert counts == {"kept": 1}
    [(_, kept)], _ = texts_of(ResponseWriter(), "ada", traced=False, items=0)
    assert kept == gold_of("LaMP_4", "ada")


def test_a_rewriter_without_a_trace_answers_and_scores_plain_text() -> None:
    replies = iter(["<b> A title \n more", " \n"])
    base = Scripted(lambda prompt, cap: "a draft")
    model = Scripted(lambda prompt, cap: next(replies))
    method = Rewriter(base, model, AllItems(), traced=False)
    one = example("LaMP_4")
    [answer] = method.respond([one.query], [one.profile])
    assert (answer.text, answer.trace, answer.degraded) == ("<b> A title", {}, None)
    [answer] = method.respond([one.query], [one.profile])
    assert (answer.text, answer.degraded) == ("a draft", UNREADABLE)
    replies = iter(["anything"])
    assert method.score([one.query], [one.profile], ["wanted"]) == [-6.0]
    assert model.scored == [(model.prompts[-1], "wanted")]


def test_any_text_without_a_trace_has_the_task_s_reward() -> None:
    assert [reward.title for reward in reward_functions(0.1, traced=False)] == ["task"]
    logged: dict[str, float] = {}
    common: dict[str, Any] = {"items": [1] * 2, "distractors": [0] * 2, "own_texts": [()] * 2}
    common["log_metric"] = logged.__setitem__
    task, gold = [get_task("LaMP_2")] * 2, ["comedy"] * 2
    texts = ["comedy", " "]
    assert task_reward(completions=texts, task=task, gold=gold, traced=False, **common) == [1.0, 0.0]
    assert logged["unparsable"] == 0.5
    assert task_reward(completions=texts, task=task, gold=gold, **common) == [0.0, 0.0]


def test_an_explanation_is_cut_to_whole_sentences_and_becomes_the_evidence() -> None:
    said = "They write\nshort titles. They never shout! And then they"
    assert read_explanation(said, " gold ") == Trajectory(
        "They write short titles. They never shout!", "", "gold"
    )
    assert read_explanation("no end of a sentence", "gold") == "no end of a sentence"
    assert read_explanation("<plan>x.</plan> Fine.", "gold") == "<plan>x.</plan> Fine."
    assert read_explanation(" \n", "gold") is None


def test_self_written_traces_are_filtered_and_counted() -> None:
    asked: list[str] = []
    replies = {
        "fine": "They are brief.",
        "none": "",
        "torn": "They are",
        "quotes": f"They say {gold_of('LaMP_4', 'quotes')}.",
        "long": "They " + "very " * 30 + "often do it.",
    }

    def generate(prompts: Sequence[str]) -> list[str]:
        asked.extend(prompts)
        return [replies[user] for user in replies]

    writer = SelfWriter(generate, count_tokens=count_words, max_length=500)
    texts, counts = texts_of(writer, *replies)
    assert [completion for _, completion in texts] == [
        f"<evidence>They are brief.</evidence><plan></plan><response>{gold_of('LaMP_4', 'fine')}</response>"
    ]
    assert counts == {
        "kept": 1,
        filters.QUOTES_GOLD: 1,
        filters.UNPARSABLE: 1,
        filters.NO_TRAJECTORY: 1,
        filters.TOO_LONG: 1,
    }
    assert all(
        f"{DRAFT}a draft{GOLD}{gold_of('LaMP_4', user)}\n" in asked[n] for n, user in enumerate(replies)
    )
    asked.clear()
    nobody = SelfWriter(lambda prompts: [], count_tokens=count_words, max_length=500)
    [(_, kept)], _ = texts_of(nobody, "ada", items=0)  # nothing to explain
    assert kept == Trajectory(NOTHING, "replace at the start", gold_of("LaMP_4", "ada")).text()


def test_an_empty_plan_is_no_part_of_the_answer_s_trace() -> None:
    written = Trajectory("brief", "", "A TITLE").text()
    model = Scripted(lambda prompt, cap: written)
    method = Rewriter(Scripted(lambda prompt, cap: "a draft"), model, AllItems())
    one = example("LaMP_4")
    [answer] = method.respond([one.query], [one.profile])
    assert (answer.text, answer.trace) == ("A TITLE", {"evidence": "brief"})
    method.score([one.query], [one.profile], ["x"])
    assert model.begun == ["<evidence>brief</evidence><plan></plan>"]
    assert [completion for _, completion in model.scored] == ["<response>x</response>"]


@pytest.mark.parametrize(("name", "writer"), [("lamp-mini", "template"), ("reviews", REAL_TEXT_WRITER)])
def test_auto_is_resolved_by_the_data_and_a_run_keeps_what_it_had(
    tmp_path: Path, name: str, writer: str
) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"name": name}))
    settings = load(TrainRPO, None, [f"data.path={tmp_path}"])
    assert with_writer(settings).trajectories.writer == writer
    assert with_writer(settings, "own").trajectories.writer == "own"  # what the run was trained with
    assert settings.trajectories.writer == "auto"


def test_a_given_text_is_its_own_draft_and_is_not_repeated() -> None:
    task, one = get_task("rewriting"), example("rewriting")
    [each] = draft_all(task, [one], None, AllItems(), max_new_tokens=0)
    assert each.draft == one.query.search_text
    prompt = rewriter_prompt(
        task, one.query, each.draft, each.context, count_tokens=count_words, max_length=500, given=each.given
    )
    assert prompt.count(each.draft) == 1
    assert "would." in prompt
    model = Scripted(lambda prompt, cap: "In their way")
    method = Rewriter(None, model, AllItems(), traced=False, draft="auto")
    nobody = Profile("nobody", ())
    rewritten, kept = method.respond([one.query] * 2, [one.profile, nobody])
    assert model.prompts == [prompt]
    assert (rewritten.text, rewritten.generic) == ("In their way", each.draft)
    assert rewritten.tokens == count_words(prompt) + 3
    assert (kept.text, kept.degraded, kept.tokens) == (each.draft, NO_HISTORY, 0)
    assert method.score([one.query], [nobody], ["x"]) == [-1.0]
    other = example("LaMP_4")
    with pytest.raises(UserError, match="no base model, which LaMP_4 needs"):
        method.respond([other.query], [other.profile])


@pytest.mark.parametrize(
    ("task", "by_default", "with_input"),
    [("rewriting", True, True), ("LaMP_7", False, True), ("LaMP_4", False, False)],
)
def test_which_tasks_give_a_text_to_rewrite(task: str, by_default: bool, with_input: bool) -> None:
    assert uses_given_text("auto", get_task(task)) is by_default
    assert uses_given_text("input", get_task(task)) is with_input
    assert not uses_given_text("base", get_task(task))


def test_given_texts_are_refused_for_other_tasks(
    tiny_model: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more in ([], ["data.tasks=[LaMP_3]"], ["--dry-run"]):
        call = ["train", "rpo", f"model={tiny_model}", f"data.path={tiny_data}", "draft=input", *more]
        assert main([*call, "--output", str(tmp_path / "run")]) == 2
        told = capsys.readouterr().err.splitlines()
        assert (
            told[0]
            == "error: draft is input, but LaMP_3 gives no text to rewrite, expected draft=base or auto"
        )
        assert not (tmp_path / "run").exists()


def rewriting(model: Path, data: Path) -> list[str]:
    settings = [f"model={model}", "base=/no/such/model", f"data.path={data}", "stages=sft", "lora.r=0"]
    settings += ["sft.max_steps=1", "sft.per_device_train_batch_size=2", "data.tasks=[rewriting]"]
    return ["train", "rpo", *settings, "trajectories.max_tokens=64", "trajectories.writer=none"]


def test_a_base_model_that_repeats_the_text_gets_the_prompt_of_any_draft() -> None:
    task, one = get_task("LaMP_7"), example("LaMP_7")
    base = Scripted(lambda prompt, cap: one.query.search_text)
    [each] = draft_all(task, [one], base, AllItems(), max_new_tokens=9)
    assert each.draft == one.query.search_text
    model = Scripted(lambda prompt, cap: "In their way")
    method = Rewriter(base, model, AllItems(), traced=False, draft="base")
    method.respond([one.query], [one.profile])
    assert model.prompts[0].endswith(DRAFT + each.draft + REWRITE)
    trained = rewriter_prompt(
        task, one.query, each.draft, each.context, count_tokens=count_words, max_length=500, given=each.given
    )
    assert trained == model.prompts[0]


@pytest.mark.slow
def test_a_rewriter_of_given_texts_needs_no_base_model(
    tiny_model: Path, rewrites: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = rewriting(tiny_model, rewrites)
    assert main([*train, "--dry-run", "--json"]) == 0, capsys.readouterr().err
    planned = json.loads(capsys.readouterr().out)
    assert planned["chosen"] == {"trajectories.writer": "none", "draft of rewriting": "input"}
    assert {each["stage"] for each in planned["memory"]} == {"SFT"}
    run = tmp_path / "run"
    assert main([*train, "--output", str(run)]) == 0, capsys.readouterr().err
    assert json.loads((run / "run.json").read_text())["trajectories"] == {
        "kept": 2,
        "users without history": 0,
    }
    capsys.readouterr()
    infer = ["infer", "--run", str(run), "--task", "rewriting", "--base", "openai:unreachable", "--trace"]
    assert main(infer) == 0
    printed = capsys.readouterr()
    assert "evidence" not in printed.out
    assert "generic    the original that dev-ada asks about" in printed.out
    assert "the given text itself is rewritten: --base openai:unreachable is not used" in printed.err


@pytest.mark.slow
def test_the_model_writes_its_own_traces(
    tiny_model: Path, rewrites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate = LocalModel.generate
    asked: list[str] = []

    def explains(self: LocalModel, prompts: Sequence[str], **how: Any) -> list[list[str]]:
        if not prompts or GOLD not in prompts[0]:
            return generate(self, prompts, **how)
        asked.extend(prompts)
        return [[f"This user is brief, number {n}."] for n, _ in enumerate(prompts)]

    monkeypatch.setattr(LocalModel, "generate", explains)
    settings = ["trajectories.writer=own", "trajectories.no_history_share=0", "trajectories.max_tokens=256"]
    run = tmp_path / "run"
    assert main([*rewriting(tiny_model, rewrites), *settings, "--output", str(run)]) == 0
    assert len(asked) == 2
    facts = json.loads((run / "run.json").read_text())
    assert facts["trajectories"]["kept"] == 2
    assert facts["trajectory_writer"] == "own"


def test_an_older_run_keeps_its_drafts_and_its_trace(
    tiny_model: Path, rewrites: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", tiny_model, rewrites)
    lines = (run / "config.yaml").read_text().splitlines()
    lacking = [line for line in lines if not line.strip().startswith(("draft:", "writer:"))]
    assert len(lacking) == len(lines) - 2
    (run / "config.yaml").write_text("\n".join(lacking))
    assert main(["infer", "--run", str(run), "--task", "rewriting", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["generic"] != "the original that dev-ada asks about"  # the base model's
    assert answer["degraded"] == UNREADABLE
