"""Every row, and the draft that is rewritten, reads chat replies alike."""

from __future__ import annotations

import pytest

from personakit.baselines import ContextInjection, Generic, Memory
from personakit.contracts import Personalizer
from personakit.data.lamp_formats import build_input, profile_item, search_text
from personakit.pillow.wording import LampWording
from personakit.popi.answering import PreparedPrompt, PromptPersonalizer
from personakit.records import Instruction, Profile, Query
from personakit.retrieval import open_retriever
from personakit.rpo.dataset import draft_all
from personakit.rpo.prompts import Trajectory
from personakit.rpo.rewriter import Rewriter

REPLY = 'Sure! Here is a headline:\n\n**"Storm Batters Coast"**\n\nLet me know if you want another title!'
QUOTED, PLAIN = '"Storm Batters Coast"', "Storm Batters Coast"


class Chatty:
    """Replies as chat models do; as a rewriter, within the tags."""

    def __init__(self, *, tagged: bool = False) -> None:
        self.reply = Trajectory("e", "p", REPLY).text() if tagged else REPLY
        self.prompts: list[str] = []

    def generate(self, prompts: list[str], *, samples: int = 1, **_: object) -> list[list[str]]:
        self.prompts += prompts
        return [[self.reply] * samples for _ in prompts]

    def score(self, prompts: object, completions: object) -> list[float]:
        raise NotImplementedError

    def count_tokens(self, text: str) -> int:
        return len(text.split())


class Alone(PromptPersonalizer):
    def prepare(self, queries: object, profiles: object) -> list[PreparedPrompt]:
        return [PreparedPrompt("prompt")]


def rows() -> dict[str, Personalizer]:
    bm25 = open_retriever("bm25", 2)
    return {
        "generic": Generic(Chatty()),
        "context injection": ContextInjection(Chatty(), bm25),
        "memory": Memory(Chatty()),
        "rewriter": Rewriter(Chatty(), Chatty(tagged=True), bm25),
        "population": Alone(Chatty()),
    }


def asked(*titles: str) -> tuple[Query, Profile]:
    text = build_input("LaMP_4", text="a storm came in the night")
    items = tuple(
        profile_item("LaMP_4", str(number), {"title": title, "text": "a storm"})
        for number, title in enumerate(titles)
    )
    return Query("q", "LaMP_4", text, search_text("LaMP_4", text), "ada", "gold"), Profile("ada", items)


@pytest.mark.parametrize("row", rows())
@pytest.mark.parametrize(("title", "answer"), [("Rain Again", PLAIN), ('"Rain Again"', QUOTED)])
def test_a_row_answers_without_wrapping_unless_it_is_the_users_own(row: str, title: str, answer: str) -> None:
    query, profile = asked(title)
    given = rows()[row].respond([query], [profile])[0]
    assert given.text == answer
    if row == "rewriter":
        assert given.generic == answer


def test_the_rewriter_sees_the_draft_without_wrapping_in_training_and_afterwards() -> None:
    from personakit.records import Example
    from personakit.tasks import get_task

    query, profile = asked("Rain Again")
    bm25 = open_retriever("bm25", 2)
    [drafted] = draft_all(get_task("LaMP_4"), [Example(query, profile)], Chatty(), bm25, max_new_tokens=8)
    assert drafted.draft == PLAIN
    model = Chatty(tagged=True)
    Rewriter(Chatty(), model, bm25).respond([query], [profile])
    assert f": {PLAIN}\n" in model.prompts[0]
    assert "Sure!" not in model.prompts[0]


@pytest.mark.parametrize(("title", "answer"), [("Rain Again", PLAIN), ('"Rain Again"', QUOTED)])
def test_pillows_rewards_and_answers_are_read_alike(title: str, answer: str) -> None:
    query, profile = asked(title)
    items = {(query.id, item.id): item for item in profile.items}
    wording = LampWording({query.id: query}, items, count_tokens=len, max_length=512)
    assert wording.read(Instruction(query.id, "", "", ""), REPLY) == answer
