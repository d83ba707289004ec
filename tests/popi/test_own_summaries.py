"""Summaries by the base model itself: which are of use, and how they are counted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from personakit.config.loading import load
from personakit.config.train_popi import TrainPOPI
from personakit.errors import RunError
from personakit.popi.own_summaries import SAMPLES, Author, read_summary, write_summaries
from personakit.popi.train import summaries_of, train_popi
from personakit.training.progress import LineProgress, SilentProgress
from personakit.training.run import Run

from .test_train import SETTINGS, data_of, people

ANSWERS = ("The tide is the rise and fall of the sea, caused by the moon and the sun.", "No.")
GOOD = "This person likes answers that are short and friendly. They prefer plain words."


def words(text: str) -> int:
    return len(text.split())


@pytest.mark.parametrize(
    ("reply", "summary"),
    [
        (GOOD, GOOD),
        (f"  Here is a summary:\n\n{GOOD}\n", GOOD),
        (f"Sure! {GOOD}", GOOD),
        (GOOD + " They dislike", GOOD),
        ('They like "short" answers (really).', 'They like "short" answers (really).'),
        ("This person likes answers about AI and plain words.",) * 2,
        (f"{GOOD} They like short ones, e.g. lists", GOOD),
        # The second sentence does not fit into 20 tokens.
        (f"{GOOD} {GOOD}", GOOD),
    ],
)
def test_a_usable_reply_becomes_one_paragraph_of_whole_sentences(reply: str, summary: str) -> None:
    assert read_summary(reply, ANSWERS, words, 20) == (summary, None)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (" \n", "empty"),
        ("This person likes answers that are " + "very " * 30, "no whole sentence fits"),
        ("Short answers preferred.", "too short"),
        ("Asked: why? This person preferred: because.", "continues the prompt"),
        ("This person prefers: short answers that are to the point.", "continues the prompt"),
        ("This person is a master of their craft and very kind.", "says nothing of answers"),
        ("As an AI assistant, the model likes answers that are short.", "speaks of the model"),
        ("As a language model, it prefers answers that are short.", "speaks of the model"),
        ("I like answers that are short and friendly.", "speaks of the model"),
        ("They like short answers. They like short answers. They like short answers.", "repeats itself"),
        (
            "This person likes the answer that the tide is the rise and fall of the sea.",
            "copies an answer or a query",
        ),
    ],
)
def test_other_replies_are_dropped_with_a_reason(reply: str, reason: str) -> None:
    assert read_summary(reply, ANSWERS, words, 30)[1] == reason


class Replies:
    """A model that answers from a script, by prompt; sampling gives the second part of it."""

    fingerprint = "replies"

    def __init__(self, replies: dict[str, tuple[str, Sequence[str]]] | None = None) -> None:
        self.replies = replies

    def generate(
        self,
        prompts: Sequence[str],
        *,
        samples: int = 1,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[str]]:
        if self.replies is None:
            return [[GOOD] * samples for _ in prompts]
        return [
            list(self.replies[prompt][1]) if temperature else [self.replies[prompt][0]] for prompt in prompts
        ]

    def count_tokens(self, text: str) -> int:
        return len(text.split())


def test_a_dropped_summary_is_replaced_by_a_sampled_one_and_both_are_counted() -> None:
    bad = ["Asked: why"] * SAMPLES
    model = Replies({"a": (GOOD, ()), "b": ("", [*bad[1:], GOOD]), "c": ("", bad)})
    authors = [Author(prompt, ANSWERS) for prompt in ("a", "b", "c", "")]
    summaries, counts = write_summaries(authors, model, max_tokens=20, seed=0)  # type: ignore[arg-type]
    assert summaries == [GOOD, GOOD, "", ""]
    assert counts == {"kept": 2, "different": 1, "dropped: empty": 1, "dropped: no signal fits": 1}


def test_real_data_has_own_summaries_and_the_built_in_data_the_template(tmp_path: Path) -> None:
    data = data_of(tmp_path, people(3))
    assert summaries_of(load(TrainPOPI)) == "template"
    assert summaries_of(load(TrainPOPI, None, [f"data.path={data}"])) == "own"
    assert summaries_of(load(TrainPOPI, None, ["warm_start.summaries=own"])) == "own"


def test_the_inference_model_is_trained_on_own_summaries(
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("personakit.popi.train.open_language_model", lambda *_, **__: Replies())
    data = data_of(tmp_path / "data", people(8))
    settings = [*SETTINGS, "warm_start.summaries=auto", "joint.max_summary_tokens=30", "max_length=160"]
    config = load(TrainPOPI, None, [f"model={tiny_folder}", f"data.path={data}", *settings])
    with Run.create(tmp_path / "run", "popi", asdict(config), config.seed) as run:
        train_popi(config, run, LineProgress())
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["own_summaries"] == {"kept": 6, "different": 1}
    assert facts["stages"]["warm-inference"]["examples"] == 6
    assert "6 of 6 own summaries pass the filter, 1 of them different" in capsys.readouterr().err


def test_a_model_that_writes_no_summary_is_an_error_with_the_reasons(
    tiny_folder: Path, tmp_path: Path
) -> None:
    data = data_of(tmp_path / "data", people(8))
    overrides = [f"model={tiny_folder}", f"data.path={data}", *SETTINGS, "warm_start.summaries=own"]
    config = load(TrainPOPI, None, overrides)
    with (
        Run.create(tmp_path / "run", "popi", asdict(config), config.seed) as run,
        pytest.raises(RunError) as told,
    ):
        train_popi(config, run, SilentProgress())
    assert "wrote no usable summary of 6 users (" in told.value.message
    assert "dropped: " in told.value.message
