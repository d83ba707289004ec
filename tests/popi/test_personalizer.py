"""A run of POPI as a Personalizer and as a ContextProvider."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from personakit.config import TrainRPO, load
from personakit.contracts import ContextProvider, Personalizer
from personakit.data.preferences import open_preferences
from personakit.data.preferences.profiles import as_profile, as_signals
from personakit.methods import open_popi, open_provider, open_run, read_run
from personakit.models.local import LocalModel
from personakit.popi.controls import RawSignals
from personakit.popi.inferring import GivenSummaries, Summariser
from personakit.popi.opening import LoadedPOPI
from personakit.popi.personalizer import NO_HISTORY, SummaryPersonalizer
from personakit.records import Answer, PreferencePair, Profile, ProfileItem, Query, Signals
from personakit.rpo.prompts import rewriter_prompt
from personakit.rpo.writer import evidence
from personakit.tasks import get_task
from personakit.tasks.signals import PLAIN, prompt_with_summary
from popi.runs_of import make_preferences, make_run

LONG = 10_000


class Scribe:
    """Writes the last words of the prompt, and counts the calls."""

    fingerprint = "scribe"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def generate(
        self,
        prompts: list[str],
        *,
        samples: int = 1,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[str]]:
        self.asked += prompts
        return [[f"say {[*prompt.split(), '', '', '', ''][3]}"] for prompt in prompts]

    def score(self, prompts: list[str], completions: list[str]) -> list[float]:
        return [-float(len(prompt)) for prompt in prompts]

    def count_tokens(self, text: str) -> int:
        return len(text.split())


def query(text: str, user: str) -> Query:
    return Query(f"q-{text}", "preference", text, text, user)


def signals(*comments: str) -> Signals:
    return Signals(comments=comments)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from models.tiny import make_tiny

    folder = tmp_path_factory.mktemp("popi")
    data = make_preferences(folder / "data")
    return make_run(folder / "run", make_tiny(folder), data, controls=True)


def test_signals_survive_conversion_to_a_profile() -> None:
    item = ProfileItem("1", {"post": "a", "comment": "b"}, "a b")
    pair = PreferencePair("u", "ask", "yes", "no")
    given = Signals((pair,), ("short",), ("a cook",), (item,))
    profile = as_profile("u", given)
    assert as_signals(profile) == given
    assert [each.document for each in profile.items if "prompt" in each.fields] == ["ask yes"]
    lamp = Profile("u", (ProfileItem("1", {"text": "hi"}, "hi"),))
    assert as_signals(lamp) == Signals(items=lamp.items)


def test_a_summary_is_inferred_once_per_user_independently_of_the_query() -> None:
    model = Scribe()
    personalizer = SummaryPersonalizer(Scribe(), Summariser(model, PLAIN, LONG, 8), PLAIN)
    ada, bob = as_profile("ada", signals("tea please")), as_profile("bob", signals("rum"))
    asked = [query("about ships", "ada"), query("about cats", "ada"), query("about dogs", "bob")]
    answers = personalizer.respond(asked, [ada, ada, bob])
    assert len(model.asked) == 2
    assert not any("ships" in prompt or "cats" in prompt for prompt in model.asked)
    assert not any("tea" in prompt and "rum" in prompt for prompt in model.asked)
    first, second, third = answers
    assert first.context.summary == second.context.summary != third.context.summary
    assert first.tokens > second.tokens, "the call for a summary counts with the first answer"
    told = prompt_with_summary("about cats", second.context.summary, wording=PLAIN)
    assert second.context_tokens == len(told.split()) - 2
    assert personalizer.score(asked[1:2], [ada], ["x"]) == [-float(len(told))]


def test_a_user_without_signals_gets_the_answer_without_a_summary() -> None:
    model = Scribe()
    personalizer = SummaryPersonalizer(Scribe(), Summariser(model, PLAIN, LONG, 8), PLAIN)
    [answer] = personalizer.respond([query("about the ships", "x")], [Profile("x", ())])
    assert model.asked == []
    assert (answer.context.empty, answer.context_tokens, answer.degraded) == (True, 0, NO_HISTORY)


def test_dropped_signals_are_counted_and_without_signals_there_is_no_summary() -> None:
    model = Scribe()
    ask = len(PLAIN.ask.split())
    short, long = as_profile("a", signals("tea", "many words " * 9)), as_profile("b", signals("word " * 30))

    def told(tokens: int) -> list[Answer]:
        personalizer = SummaryPersonalizer(Scribe(), Summariser(model, PLAIN, tokens, 8), PLAIN)
        return personalizer.report_context([query("q q q", "a"), query("q q q", "b")], [short, long])

    assert [each.trace.get("left out") for each in told(ask + 6)] == ["1 comments", "1 shortened"]
    assert [bool(each.context.summary) for each in told(ask + 6)] == [True, True]
    assert [each.trace.get("left out") for each in told(ask + 3)] == ["2 comments", "1 comments"]
    assert [bool(each.context.summary) for each in told(ask + 3)] == [False, False]


def test_an_update_reads_only_the_old_summary_and_new_signals() -> None:
    model = Scribe()
    Summariser(model, PLAIN, LONG, 8).update("likes tea", signals("now coffee"))
    [prompt] = model.asked
    assert "likes tea" in prompt
    assert "now coffee" in prompt


@pytest.mark.parametrize("order", ["recent", "bm25"])
def test_raw_signals_hold_a_shortened_one_where_none_fits(order: str) -> None:
    pairs = (
        PreferencePair("u", "cats", "old yes", "no"),
        PreferencePair("u", "dogs", "old yes", "no"),
        PreferencePair("u", "tides moons suns seas", "yes " * 9, "no " * 9),
    )
    around = len(PLAIN.to_request.split())
    control = RawSignals(Scribe(), PLAIN, 8 + around, order)  # type: ignore[arg-type]
    [prepared] = control.prepare([query("tides moons suns seas", "u")], [as_profile("u", Signals(pairs))])
    assert (
        prepared.prompt
        == f"Asked: tides\nThis person preferred: yes\nto: no\n\n{PLAIN.to_request}tides moons suns seas"
    )
    assert prepared.trace == {"left out": "2 pairs, 1 shortened"}


def test_raw_signals_are_dropped_whole_by_age_or_by_bm25_score() -> None:
    topics = ("cats", "ships", "dogs")
    pairs = tuple(PreferencePair("u", f"{topic} please", f"{topic} yes", "no") for topic in topics)
    profile = as_profile("u", Signals(pairs))
    one = PLAIN.pair.format(prompt="cats please", chosen="cats yes", rejected="no") + PLAIN.to_request
    cost = len(one.split())

    def shown(order: str) -> str:
        control = RawSignals(Scribe(), PLAIN, cost + 2, order)  # type: ignore[arg-type]
        [prepared] = control.prepare([query("more cats now", "u")], [profile])
        assert prepared.trace == {"left out": "2 pairs"}
        return prepared.prompt

    assert "dogs yes" in shown("recent")
    assert "cats yes" in shown("bm25")


def test_a_run_opens_and_its_adapters_are_independent(run: Path) -> None:
    opened = open_run(run)
    assert isinstance(opened, Personalizer)
    assert isinstance(opened.provider, ContextProvider)
    user = open_preferences(Path(run.parent / "data"), "dev")[0]
    asked = query(user.pairs[0].prompt, user.user_id)
    profile = as_profile(user.user_id, user.signals)
    [first], [again] = (opened.respond([asked], [profile]) for _ in range(2))
    assert (first.text, first.context) == (again.text, again.context)
    models = open_popi(run).models
    plain = LocalModel.load(str(run / "model" / "generator"))
    alone = LocalModel.load(str(run.parent / "tiny")) if (run.parent / "tiny").is_dir() else None
    prompt, answer = asked.text, user.pairs[0].chosen
    assert models["generator"].score([prompt], [answer]) == pytest.approx(
        plain.score([prompt], [answer]), abs=1e-4
    )
    scores = {name: model.score([prompt], [answer])[0] for name, model in models.items()}
    assert len(set(scores.values())) == len(scores), "every adapter, and the base, has a voice of its own"
    assert alone is None or scores["base"] == pytest.approx(alone.score([prompt], [answer])[0], abs=1e-4)


def test_another_model_gets_the_same_summary_and_the_oracle_gets_the_persona(run: Path) -> None:
    opened = open_popi(run)
    user = open_preferences(Path(run.parent / "data"), "dev")[0]
    profile = as_profile(user.user_id, user.signals)
    asked = [query("the cat", user.user_id)]
    (own,) = opened.personalizer().report_context(asked, [profile])
    (foreign,) = opened.row_of_model(Scribe(), with_summary=True).policy.report_context(asked, [profile])
    assert own.context == foreign.context
    (oracle,) = opened.row("oracle", {user.user_id: user.persona or ""}).policy.report_context(
        asked, [profile]
    )
    assert oracle.context.summary == user.persona
    assert GivenSummaries({}).context(asked, [profile])[0].empty


def test_a_run_can_be_the_retriever(run: Path) -> None:
    user = open_preferences(Path(run.parent / "data"), "dev")[0]
    profile = as_profile(user.user_id, user.signals)
    asked = [query("the cat", user.user_id)]
    settings = load(TrainRPO, None, [f"retrieval.name=popi:{run}"])
    [context] = open_provider(settings).context(asked, [profile])
    [own] = open_run(run).report_context(asked, [profile])  # type: ignore[attr-defined]
    assert context == own.context
    assert not context.empty
    assert not context.items
    task = get_task("LaMP_7")
    assert evidence(task, asked[0], "the cat", context) == f'"{context.summary}"'
    prompt = rewriter_prompt(
        task, asked[0], "a draft", context, count_tokens=lambda text: len(text.split()), max_length=90
    )
    assert prompt.startswith(f"{context.summary}\nthe cat")


def test_another_base_model_replaces_the_generator_and_the_runs_own_does_not(run: Path) -> None:
    settings = open_popi(run).settings
    assert open_run(run, base=settings.model).model is open_popi(run).models["generator"]  # type: ignore[attr-defined]
    frozen = open_run(run, base=f"{settings.model}:terse")
    assert frozen.model is not open_popi(run).models["generator"]  # type: ignore[attr-defined]


def test_a_missing_adapter_is_named(run: Path, tmp_path: Path) -> None:
    from personakit.errors import UserError

    with pytest.raises(UserError, match="model/inference: the adapter is missing"):
        LoadedPOPI.load(replace(read_run(run), folder=tmp_path))
