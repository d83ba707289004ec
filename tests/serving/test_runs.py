"""Which runs are served, and that those of one base model share its weights."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from cli.tiny import make_data, make_model
from cli.tiny import make_run as make_rpo_run
from models.tiny import make_tiny
from popi.runs_of import make_preferences, make_run
from rpo.fakes import Scripted

from personakit.config import TrainPILLOW, load, to_yaml
from personakit.errors import UserError
from personakit.models.local import LocalModel
from personakit.records import Answer
from personakit.serving.base import Chat
from personakit.serving.batching import Batcher
from personakit.serving.local_base import LocalBase
from personakit.serving.rewriters import RewriteRequest, RewritingRun
from personakit.serving.runs import open_runs
from personakit.serving.store import StoredItem
from personakit.serving.summaries import SummaryRun

from .stubs import served_run


def test_runs_on_one_base_share_its_weights_and_answer_each_with_their_own(tmp_path: Path) -> None:
    tiny, data = make_tiny(tmp_path), make_preferences(tmp_path / "data")
    folders = [make_run(tmp_path / f"popi-{seed}", tiny, data, seed=seed) for seed in (0, 1)]
    batcher = Batcher()
    local = partial(LocalBase, batcher=batcher)
    runs, base = open_runs(folders, str(tiny), batcher, local)
    assert isinstance(base, LocalModel)
    chat = Chat([{"role": "user", "content": "the cat"}], {"max_tokens": 8})
    answers = set()
    for run in runs.values():
        assert isinstance(run, SummaryRun)
        assert isinstance(run.summariser.model, LocalModel)
        assert run.summariser.model.model is base.model
        assert run.generator is not None
        answers.add(asyncio.run(run.generator.draft(chat)).text)
    assert len(answers) == 2
    alone = LocalModel.load(str(tiny)).generate(["the cat"], max_new_tokens=8)
    assert base.generate(["the cat"], max_new_tokens=8) == alone  # no adapter is left on
    others, model = open_runs(folders[:1], "openai:stub", batcher, local)
    [other] = others.values()
    assert isinstance(other, SummaryRun)
    assert (other.generator, model) == (None, None)
    batcher.close()


def test_a_run_that_was_trained_on_drafts_opens_no_base(tmp_path: Path) -> None:
    model, data = make_model(tmp_path / "model"), make_data(tmp_path / "data")
    folder = make_rpo_run(tmp_path / "run", model, data, "base=openai:elsewhere")  # there is no key
    batcher = Batcher()
    runs, _ = open_runs([folder], "openai:stub", batcher, partial(LocalBase, batcher=batcher))
    run = runs["run"]
    assert isinstance(run, RewritingRun)
    assert not run.given_text
    assert run.rewriter.base is None
    [answer] = run.respond(
        [RewriteRequest("ada", "Why?", "Sure! So.", (StoredItem(1, "", {"text": "Hi."}),))]
    )
    assert answer.generic == "So."
    batcher.close()


def test_runs_of_pillow_are_refused(tmp_path: Path) -> None:
    (tmp_path / "run" / "matcher").mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").write_text(to_yaml(load(TrainPILLOW)))
    (tmp_path / "run" / "run.json").write_text(json.dumps({"method": "pillow", "seed": 0}))
    batcher = Batcher()
    with pytest.raises(UserError, match="runs of pillow are not served: what they derive"):
        open_runs([tmp_path / "run"], "openai:stub", batcher, partial(LocalBase, batcher=batcher))
    batcher.close()


def test_what_is_not_sent_is_not_checked_and_the_check_reads_the_newest_items(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draft, rewrite = "The train is late.", "The train is late. Xx, Bo"
    run = replace(served_run(Scripted(lambda prompt, limit: rewrite), given_text=True), check_content=True)

    def text(signed: Iterable[int], run: RewritingRun = run) -> str:
        items = tuple(
            StoredItem(number, "", {"text": "Off we go. Xx, Bo" if number in signed else "Off we go."})
            for number in range(202)
        )
        [answer] = run.respond([RewriteRequest("bo", "", draft, items)])
        return answer.text

    assert text({200, 201}) == rewrite
    assert text({0, 1}) == draft  # a name that was a sign-off long ago
    always_cut = replace(run.rewriter, max_length=400)
    monkeypatch.setattr(always_cut, "respond", lambda queries, profiles: [Answer(rewrite, draft, cut=True)])
    assert text({0, 1}, replace(run, rewriter=always_cut)) == rewrite
