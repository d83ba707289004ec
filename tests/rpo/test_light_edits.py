"""Light edits and the content check: what an answer is where its rewrite is too much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from personakit.data.lamp_formats import build_input, profile_item
from personakit.records import Answer, Profile, Query
from personakit.rpo.light_edits import LEFT_OUT, REWRITE, LightEdits
from personakit.tasks.edits import edit_share

DRAFT = "The meeting with Ada is on Monday at 9. Please bring the signed forms along."
HISTORY = ("hey, all done! cheers, bo", "hey, see you there! cheers, bo", "hey Tim, ok! cheers, bo")


@dataclass
class Writes:
    """A rewriter that always writes the same."""

    text: str
    marks: dict[str, str] = field(default_factory=dict)

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        return [Answer(self.text, query.search_text, trace={"plan": "p"}, **self.marks) for query in queries]

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        return [-float(len(text)) for text in texts]


def answer(
    text: str, *, task: str = "rewriting", marks: dict[str, str] | None = None, **options: object
) -> Answer:
    parts = {"original": DRAFT} if task == "rewriting" else {"text": DRAFT}
    fields = {"original": "x"} if task == "rewriting" else {}
    key = "revised" if task == "rewriting" else "text"
    items = tuple(profile_item(task, str(place), {**fields, key: text}) for place, text in enumerate(HISTORY))
    query = Query("1", task, build_input(task, **parts), DRAFT, "bo")
    light = LightEdits(Writes(text, marks or {}), **options)  # type: ignore[arg-type]
    [found] = light.respond([query], [Profile("bo", items)])
    return found


@pytest.mark.parametrize(
    "text",
    [
        DRAFT,
        "hey, the meeting with ada is on monday at 9. please bring the signed forms! cheers, bo",
    ],
)
def test_a_rewrite_that_keeps_the_content_is_the_answer(text: str):
    found = answer(text)
    assert (found.text, found.degraded, dict(found.trace)) == (text, None, {"plan": "p"})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (DRAFT.replace("Monday", "Friday"), "the rewrite loses date Monday and invents date Friday"),
        (DRAFT.replace(" with Ada", ""), "the rewrite loses name Ada"),
        ("hey Tim, " + DRAFT, "the rewrite invents name Tim"),  # a name of another text of the history
    ],
)
def test_otherwise_the_draft_stands_and_the_reason_is_given(text: str, reason: str):
    found = answer(text)
    assert found.text == DRAFT
    assert found.degraded == f"{reason}: the draft stands"
    assert found.trace == {"plan": "p", REWRITE: text}


def test_the_check_can_be_left_out_and_by_default_concerns_given_texts_only():
    text = DRAFT.replace("Monday", "Friday")
    assert answer(text, check_content=False).text == text
    assert answer(text, task="LaMP_7").text == text  # the draft is a model's there
    assert answer(text, task="LaMP_7", draft="input").text == DRAFT
    assert answer(text, task="LaMP_7", check_content=True).text == DRAFT


def test_a_limit_keeps_the_edits_that_fit():
    text = "hey, the meeting with Ada is on Monday at 9. don't forget your signed forms! cheers, bo"
    found = answer(text, max_edit=0.2)
    assert found.text == f"hey, {DRAFT} cheers, bo"
    assert found.degraded is None
    assert edit_share(DRAFT, found.text) <= 0.2
    assert found.trace[REWRITE] == text
    assert found.trace[LEFT_OUT] == "the rewrite changes 53% of the words, at most 20% are allowed"


def test_edits_that_change_facts_are_left_out_and_the_others_stay():
    text = "hey Tim, " + DRAFT.replace("Please", "please") + " cheers, bo"
    found = answer(text)
    assert found.text == DRAFT.replace("Please", "please") + " cheers, bo"
    assert found.degraded is None
    assert found.trace[LEFT_OUT] == "the rewrite invents name Tim"
    text = "hey, the meeting with ada is on friday at 9. please bring the signed forms along! cheers, bo"
    found = answer(text)
    assert found.text == text.replace("friday", "Monday")
    assert found.trace[LEFT_OUT] == "the rewrite loses date Monday and invents date friday"


def test_edits_that_change_facts_are_left_out_of_light_edits():
    text = "hey, " + DRAFT.replace("Monday", "Friday")
    assert answer(text, max_edit=0.2).text == f"hey, {DRAFT}"
    assert answer(text, max_edit=0.2, check_content=False).text == text


def test_a_rewrite_of_which_nothing_fits_gives_way_to_the_draft():
    text = "Something else, in so many other words that nothing of it is left in here."
    found = answer(text, max_edit=0.2)
    assert found.text == DRAFT
    assert found.degraded is not None
    assert "loses number 9, date Monday, name Ada" in found.degraded
    assert "% of the words, at most 20% are allowed: the draft stands" in found.degraded


def test_nothing_may_change_at_0():
    found = answer("hey, " + DRAFT, max_edit=0.0)
    assert found.text == DRAFT
    assert found.degraded == "the rewrite changes 7% of the words, at most 0% are allowed: the draft stands"


@pytest.mark.parametrize("mark", ["error", "degraded", "refused"])
def test_an_answer_that_is_no_rewrite_stays_as_it_is(mark: str):
    assert answer("no", marks={mark: "a reason"}, max_edit=0.0).text == "no"


def test_scores_are_the_rewriters():
    light = LightEdits(Writes(""), max_edit=0.2)
    query = Query("1", "rewriting", "x", "x", "bo")
    assert light.score([query], [Profile("bo", ())], ["four"]) == [-4.0]
