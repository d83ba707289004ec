"""The Rewriter: drafts, rewrites, and fallbacks to the draft."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from personakit.contracts import Personalizer
from personakit.errors import UserError
from personakit.models.refusal import Cut
from personakit.records import Answer, Example
from personakit.retrieval import open_retriever
from personakit.rpo.prompts import parse_trajectory
from personakit.rpo.rewriter import NO_HISTORY, RAN_ON, UNREADABLE, Rewriter

from .fakes import AllItems, Scripted, SummaryOnly, count_words, draft_in, example, shouts


def drafts(prompt: str, max_new_tokens: int) -> str:
    """A base model with a recognisable answer."""
    if prompt.startswith("What is the score"):
        return "I would give it 3."
    return f"draft {max_new_tokens} {prompt.split()[-3]}"


def rewriter(**changed: object) -> Rewriter:
    settings = {"base": Scripted(drafts), "model": Scripted(shouts), "provider": AllItems()}
    return Rewriter(**settings | changed)  # type: ignore[arg-type]


def respond(method: Rewriter, *examples: Example) -> list[Answer]:
    return method.respond([each.query for each in examples], [each.profile for each in examples])


def lasting(answer: Answer) -> tuple[object, ...]:
    """An answer without its time in seconds."""
    return (
        *(answer.text, answer.generic, answer.context, dict(answer.trace)),
        *(answer.tokens, answer.context_tokens, answer.error, answer.degraded),
    )


def test_an_answer_is_the_rewritten_draft_with_its_trace() -> None:
    method = rewriter()
    assert isinstance(method, Personalizer)
    one = example("LaMP_4")
    [answer] = respond(method, one)
    assert answer.generic == "draft 128 ada"
    assert answer.text == "DRAFT 128 ADA"
    assert answer.trace == {"evidence": "loud", "plan": "shout within 512"}
    assert answer.context.items == one.profile.items
    assert (answer.error, answer.degraded) == (None, None)


def test_tokens_count_all_calls_and_context_tokens_count_the_items() -> None:
    method = rewriter()
    one, without = example("LaMP_4"), example("LaMP_4", items=0)
    [answer] = respond(method, one)
    [asked], [prompt] = method.base.prompts, method.model.prompts  # type: ignore[attr-defined]
    calls = [asked, drafts(asked, 128), prompt, shouts(prompt, 512)]
    assert answer.tokens == sum(map(count_words, calls))
    respond(bare := rewriter(rewrite_without_history=True), without)
    [shorter] = bare.model.prompts  # type: ignore[attr-defined]
    assert answer.context_tokens == count_words(prompt) - count_words(shorter) > 0


def test_a_user_without_history_gets_the_generic_answer_and_the_rewriter_is_not_called() -> None:
    method = rewriter()
    [answer] = respond(method, example("LaMP_4", items=0))
    [asked] = method.base.prompts  # type: ignore[attr-defined]
    assert method.model.prompts == []  # type: ignore[attr-defined]
    assert answer.text == answer.generic == drafts(asked, 128)
    assert answer.degraded == NO_HISTORY
    assert (answer.tokens, answer.context_tokens) == (count_words(asked) + 3, 0)


def test_the_control_rewrites_without_history() -> None:
    method = rewriter(rewrite_without_history=True)
    [answer] = respond(method, example("LaMP_4", items=0))
    assert len(method.model.prompts) == 1  # type: ignore[attr-defined]
    assert answer.text == "DRAFT 128 ADA"
    assert answer.degraded is None


def test_an_unparsable_output_falls_back_to_the_generic_answer() -> None:
    method = rewriter(model=Scripted(lambda prompt, cap: "<response>no trace</response>"))
    [answer] = respond(method, example("LaMP_4"))
    assert answer.text == answer.generic == "draft 128 ada"
    assert answer.degraded == UNREADABLE
    assert answer.trace == {}
    [asked], [prompt] = method.base.prompts, method.model.prompts  # type: ignore[attr-defined]
    # The failed rewrite's tokens count too.
    assert answer.tokens == count_words(asked) + 3 + count_words(prompt) + 2
    assert answer.context_tokens > 0


def test_the_task_parses_the_answer_from_the_response() -> None:
    says = Scripted(lambda prompt, cap: "<evidence>e</evidence><plan>p</plan><response>It is a 5.</response>")
    [answer] = respond(rewriter(model=says), example("LaMP_3"))
    assert (answer.generic, answer.text) == ("3", "5")


PEOPLE = [
    example(task, user, items=items)
    for task in ("LaMP_3", "LaMP_4", "LaMP_7", "LaMP_2")
    for user, items in (("ada", 3), ("bob", 0), ("cyd", 1))
]


def test_answers_do_not_depend_on_the_others_in_the_batch() -> None:
    alone = [lasting(respond(rewriter(), each)[0]) for each in PEOPLE]
    assert list(map(lasting, respond(rewriter(), *PEOPLE))) == alone
    order = random.Random(0).sample(range(len(PEOPLE)), len(PEOPLE))
    shuffled = respond(rewriter(), *(PEOPLE[place] for place in order))
    assert list(map(lasting, shuffled)) == [alone[place] for place in order]


def test_no_state_is_kept_between_calls() -> None:
    method = rewriter(provider=open_retriever("bm25", 2))
    fresh = [lasting(respond(rewriter(provider=open_retriever("bm25", 2)), each)[0]) for each in PEOPLE]
    for _ in range(2):
        assert [lasting(respond(method, each)[0]) for each in PEOPLE] == fresh


def test_prompts_do_not_contain_other_users_data() -> None:
    method = rewriter()
    respond(method, *PEOPLE)
    for prompt in method.model.prompts:  # type: ignore[attr-defined]
        assert len({name for name in ("ada", "bob", "cyd") if f"{name}-" in prompt}) == 1


def test_each_task_in_a_batch_has_its_own_maximum_length() -> None:
    answers = respond(rewriter(), *PEOPLE)
    for each, answer in zip(PEOPLE, answers, strict=True):
        if each.query.task == "LaMP_3":
            assert answer.generic == "3"
        else:
            cap = {"LaMP_2": 32}.get(each.query.task, 128)
            assert answer.generic == f"draft {cap} {each.query.text.split()[-3]}"
    assert [answer.degraded for answer in answers] == [None, NO_HISTORY, None] * 4


def test_a_rewrite_of_a_given_text_is_limited_by_its_length() -> None:
    caps: list[int] = []

    def repeats(prompt: str, cap: int) -> str:
        caps.append(cap)
        return Cut("again " * cap)

    def method(**changed: object) -> Rewriter:
        settings = {"model": Scripted(repeats), "draft": "input", "traced": False}
        return rewriter(**settings | changed)

    short = example("LaMP_7")
    long = replace(short, query=replace(short.query, search_text="word " * 200))
    answers = respond(method(), short, long)
    for one, answer in zip((short, long), answers, strict=True):
        assert answer.generic == one.query.search_text
        [alone] = respond(method(), one)
        assert lasting(alone) == lasting(answer)
    assert sorted(caps) == [128, 128, 512, 512]
    assert (answers[0].text, answers[0].degraded, answers[0].cut) == (answers[0].generic, RAN_ON, False)
    assert (answers[1].degraded, answers[1].cut) == (None, True)  # the run's own limit cuts as ever
    for changed in ({"traced": True}, {"draft": "base"}):
        caps.clear()
        respond(method(**changed), short)
        assert caps == [512]


def test_the_draft_length_can_be_limited() -> None:
    [answer] = respond(rewriter(max_draft_tokens=5), example("LaMP_4"))
    assert answer.generic == "draft 5 ada"


def test_a_query_with_a_draft_takes_no_base_model() -> None:
    one, other = example("LaMP_4"), example("LaMP_4", "bob")
    given = replace(one, query=replace(one.query, draft='Sure! Here is a headline:\n\n"Storm Batters Coast"'))
    method = rewriter()
    answer, drafted = respond(method, given, other)
    assert (answer.generic, answer.text) == ("Storm Batters Coast", "STORM BATTERS COAST")
    assert drafted.generic == "draft 128 bob"
    assert method.base.prompts == [other.query.text]  # type: ignore[union-attr]
    [alone] = respond(rewriter(base=None), given)
    assert lasting(alone) == lasting(answer)
    [prompt] = method.model.prompts[:1]  # type: ignore[attr-defined]
    assert alone.tokens == count_words(prompt) + count_words(shouts(prompt, 512))
    with pytest.raises(UserError, match="has no base model"):
        respond(rewriter(base=None), given, other)


def test_a_summary_alone_is_a_valid_context() -> None:
    method = rewriter(provider=SummaryOnly())
    [answer] = respond(method, example("LaMP_4", items=0))
    [prompt] = method.model.prompts  # type: ignore[attr-defined]
    assert "ada likes capitals" in prompt
    assert answer.text == "DRAFT 128 ADA"
    assert answer.context_tokens == len(["ada", "likes", "capitals"])


def test_no_queries_make_no_model_calls() -> None:
    method = rewriter()
    assert method.respond([], []) == []
    assert method.base.prompts == []  # type: ignore[attr-defined]


def test_a_text_is_scored_after_the_prompt_and_the_trace() -> None:
    method = rewriter()
    one, without = example("LaMP_4"), example("LaMP_4", "bob", items=0)
    examples = [without, one]
    scores = method.score(
        [each.query for each in examples], [each.profile for each in examples], ["a text", "another"]
    )
    base, model = method.base, method.model
    assert base.scored == [(without.query.text, "a text")]  # type: ignore[attr-defined]
    [(prompt, completion)] = model.scored  # type: ignore[attr-defined]
    [asked] = model.prompts  # type: ignore[attr-defined]
    [begun] = model.begun  # type: ignore[attr-defined]
    assert prompt == asked
    assert begun == "<evidence>loud</evidence><plan>shout within 512</plan>"
    assert completion == "<response>another</response>"
    read = parse_trajectory(begun + completion)
    assert read is not None
    assert read.response == "another"
    assert draft_in(asked) == drafts(one.query.text, 128)
    assert scores == [-float(len("a text")), -float(len(completion))]


@pytest.mark.parametrize(
    ("draft", "written", "expected"),
    [
        ("off today", "off today, so long, k.\n\nso long, k.", "off today, so long, k."),
        ("off today", "off today\n\nBest,\nAda\n\nBest,\nAda", "off today\n\nBest,\nAda"),
        ("off today", "off today, so long, k.\nso long, k.\n\nso long, k.", "off today, so long, k."),
        ("off today", "off today, look.\n\nk.", "off today, look.\n\nk."),
        ("See you", "See you, Tom\n\nTom", "See you, Tom\n\nTom"),
        ("row on\nrow on", "Row on\nRow on", "Row on\nRow on"),
    ],
)
def test_a_sign_off_that_is_written_twice_stands_once(draft: str, written: str, expected: str) -> None:
    given = example("LaMP_7")
    given = replace(given, query=replace(given.query, search_text=draft))
    method = rewriter(model=Scripted(lambda prompt, cap: written), draft="input", traced=False)
    assert respond(method, given)[0].text == expected
