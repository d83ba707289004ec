"""Failed requests and cut answers, through everything that makes an answer from them."""

from __future__ import annotations

import pickle

import pytest

from personakit.baselines import ContextInjection, Generic, Memory
from personakit.contracts import Personalizer
from personakit.errors import RunError
from personakit.models.cache import AnswerCache
from personakit.models.refusal import Cut, NoAnswer, answer_marks
from personakit.pillow.answering import PromptedPersonalizer, SelectionInput
from personakit.pillow.rewards import ShownPrompts, TextReward
from personakit.pillow.wording import Templated
from personakit.popi.inferring import Summariser
from personakit.popi.personalizer import SummaryPersonalizer
from personakit.records import Answer, Instruction, Pool
from personakit.rpo.dataset import draft_all
from personakit.rpo.rewriter import Rewriter
from personakit.rpo.teacher import read_reply
from personakit.rpo.writer import TrajectoryRequest
from personakit.tasks import get_task
from personakit.tasks.signals import PLAIN

from .fakes import AllItems, Scripted, example, shouts

FAILED = NoAnswer("its reasoning does not end")
CUT = Cut("a kettle of")
POOL = Pool.of([Instruction("1", "Name it.", "a", "ant")])


def says(text: str) -> Scripted:
    model = Scripted(lambda prompt, max_new_tokens: text)
    model.fingerprint = "scripted"  # type: ignore[attr-defined]
    return model


def personalizers(model: Scripted) -> dict[str, Personalizer]:
    return {
        "generic": Generic(model),
        "context": ContextInjection(model, AllItems()),
        "memory": Memory(model),
        "RPO's draft": Rewriter(model, Scripted(shouts), AllItems()),
        "RPO's rewrite": Rewriter(says("a kettle"), model, AllItems()),
        "PILLOW": PromptedPersonalizer(
            model,
            Templated("plain"),
            lambda query, profile: SelectionInput(Instruction(query.id, query.text, "", ""), POOL),
            max_new_tokens=4,
        ),
        "POPI": SummaryPersonalizer(model, Summariser(says("kettles"), PLAIN, 999, 9), PLAIN),
        "POPI's summary": SummaryPersonalizer(says("a kettle"), Summariser(model, PLAIN, 999, 9), PLAIN),
    }


def respond(method: Personalizer) -> Answer:
    one = example("LaMP_4")
    [answer] = method.respond([one.query], [one.profile])
    return answer


@pytest.mark.parametrize("name", personalizers(says("")))
def test_failed_request_is_a_failed_answer(name: str) -> None:
    answer = respond(personalizers(says(FAILED))[name])
    assert answer.error is not None
    assert "its reasoning does not end" in answer.error
    assert answer.refused is None


def test_failed_facts_of_a_user_are_a_failed_answer() -> None:
    def reply(prompt: str, max_new_tokens: int) -> str:
        return FAILED if "Facts:" in prompt else "a kettle"

    assert respond(Memory(Scripted(reply))).error == "the facts about the user: its reasoning does not end"


@pytest.mark.parametrize("name", ["generic", "context", "memory", "RPO's rewrite", "PILLOW", "POPI"])
def test_cut_text_is_a_cut_answer(name: str) -> None:
    assert respond(personalizers(says(CUT))[name]).cut
    assert not respond(personalizers(says("a kettle"))[name]).cut


def test_rewrite_completes_a_cut_draft() -> None:
    assert not respond(personalizers(says(CUT))["RPO's draft"]).cut


def test_failed_draft_is_not_rewritten() -> None:
    model = Scripted(shouts)
    respond(Rewriter(says(FAILED), model, AllItems()))
    assert not model.prompts


def test_failed_training_draft_is_left_out_like_a_refused_one() -> None:
    one = example("LaMP_4")
    [drafted] = draft_all(get_task("LaMP_4"), [one], says(FAILED), AllItems(), max_new_tokens=9)
    assert drafted.refused == "its reasoning does not end"


def test_failed_reply_of_a_teacher_is_no_trajectory() -> None:
    one = example("LaMP_4")
    [context] = AllItems().context([one.query], [one.profile])
    request = TrajectoryRequest(get_task("LaMP_4"), one.query, "a", context, "b")
    assert read_reply(FAILED, request) is None


def test_failed_answer_has_no_reward(tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = AnswerCache(tmp_path_factory.mktemp("rewards") / "rewards.sqlite")
    reward = TextReward(
        says(FAILED), Templated("plain"), weights={"rouge-l": 1.0}, max_new_tokens=4, cache=cache
    )
    with pytest.raises(RunError, match="a reward needs the model's answer: its reasoning does not end"):
        reward([ShownPrompts(Instruction("1", "Name it.", "a", "ant"), ())])
    assert len(cache) == 0


@pytest.mark.parametrize("text", [FAILED, CUT])
def test_marks_survive_pickling(text: str) -> None:  # as they are sent between processes
    assert answer_marks(pickle.loads(pickle.dumps(text))) == answer_marks(text)
