from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from personakit.baselines import (
    ContextInjection,
    CopyInput,
    Generic,
    KnownAnswers,
    MajorityClass,
    Memory,
    ProfileMean,
    ProfileMode,
)
from personakit.contracts import Personalizer
from personakit.data.lamp_formats import build_input
from personakit.errors import UserError
from personakit.records import Answer, Example, Profile, Query

from .people import AllItems, Echo, headline, rating

NOTED = "- likes kettles\n2. Rates 4\n\n* likes kettles"

MAJORITY = MajorityClass({"LaMP_1": "[2]", "LaMP_3": "5"})


def answers(personalizer: Personalizer, *examples: Example) -> list[Answer]:
    return personalizer.respond([example.query for example in examples], [one.profile for one in examples])


def texts(personalizer: Personalizer, *examples: Example) -> list[str]:
    return [answer.text for answer in answers(personalizer, *examples)]


def test_copy_input_returns_the_text_without_the_template():
    assert texts(CopyInput(), headline(7)) == ["rain fell on town 7 today"]


def test_the_majority_class_is_that_of_the_training_golds():
    training = [rating(number, gold=gold) for number, gold in enumerate("55412")]
    assert texts(MajorityClass.from_examples(training), rating(9)) == ["5"]
    # 1 and 2 as frequent: the earlier label of the list, whatever the order of the data
    assert texts(MajorityClass.from_examples([rating(0, gold="2"), rating(1, gold="1")]), rating(9)) == ["1"]


def test_a_task_without_training_examples_has_no_majority_class():
    with pytest.raises(UserError, match="LaMP_3"):
        texts(MajorityClass({}), rating(1))


def test_profile_mode_and_mean_of_ratings():
    example = rating(1, scores=("1", "4", "4", "5"))
    assert texts(ProfileMode(MAJORITY), example) == ["4"]
    assert float(texts(ProfileMean(MAJORITY), example)[0]) == 3.5


def test_an_empty_profile_falls_back_on_training():
    assert texts(ProfileMean(MAJORITY), rating(1, scores=())) == ["5"]
    assert texts(ProfileMode(MAJORITY), headline(1, dates=())) == ["rain fell on town 1 today"]


def test_a_profile_without_labels_falls_back_on_training():
    """LaMP-1's items are papers, whose titles are not labels."""
    query = Query("1", "LaMP_1", build_input("LaMP_1", title="t", ref1="a", ref2="b"), "a b", "u")
    papers = headline(1).profile
    assert texts(ProfileMode(MAJORITY), Example(query, Profile("u", papers.items))) == ["[2]"]


def test_profile_mode_of_generation_is_the_newest_text():
    undated, dated = headline(1), headline(2, dates=("2024-05-01", "2023-01-01"))
    assert texts(ProfileMode(MAJORITY), undated, dated) == ["user1 reports story 1", "user2 reports story 0"]


def test_the_oracle_reports_missing_answers():
    known, unknown = answers(KnownAnswers({"4001": "the answer"}), headline(1), headline(2))
    assert (known.text, known.error) == ("the answer", None)
    assert unknown.error is not None
    assert "4002" in unknown.error


def test_known_answers_can_have_a_fallback():
    known, unknown = answers(KnownAnswers({"4001": "so"}, otherwise=CopyInput()), headline(1), headline(2))
    assert (known.text, known.degraded) == ("so", None)
    assert (unknown.text, unknown.degraded) == ("rain fell on town 2 today", "no answer is known")


def test_generic_makes_one_call_and_counts_tokens():
    model = Echo()
    one, two = answers(Generic(model), headline(1), headline(2))
    assert (one.text, two.text) == ("1 today", "2 today")
    assert len(model.calls) == 1
    assert one.tokens == len(headline(1).query.text.split()) + 2
    assert one.context_tokens == 0


def test_queries_of_several_tasks_keep_order_and_lengths():
    model = Echo()
    assert texts(Generic(model), headline(1), rating(2), headline(3)) == ["1 today", "is fine", "3 today"]
    assert sorted((len(prompts), length) for prompts, length in model.calls) == [(1, 8), (2, 128)]


def test_answers_are_parsed_from_the_models_text():
    model = Echo(words=1)
    example = rating(4)
    wordy = Query(**{**_fields(example.query), "text": example.query.text + " [4]"})
    assert texts(Generic(model), Example(wordy, example.profile)) == ["4"]


def test_context_injection_adds_the_profile_and_counts_its_tokens():
    model = Echo()
    (answer,) = answers(ContextInjection(model, AllItems()), headline(1))
    prompt = model.calls[0][0][0]
    assert "user1 reports story 0" in prompt
    assert prompt.endswith(headline(1).query.text)
    assert answer.context_tokens == len(prompt.split()) - len(headline(1).query.text.split())
    assert [item.id for item in answer.context.items] == ["h0", "h1"]


def test_context_injection_without_a_profile_is_generic():
    injected, plain = Echo(), Echo()
    empty = headline(1, dates=())
    (one,) = answers(ContextInjection(injected, AllItems()), empty)
    (other,) = answers(Generic(plain), empty)
    assert injected.calls == plain.calls
    assert (one.text, one.tokens, one.context_tokens) == (other.text, other.tokens, 0)


def test_context_injection_stays_within_its_budget():
    model = Echo()
    answers(ContextInjection(model, AllItems(), max_length=24), headline(1, dates=(None,) * 30))
    assert len(model.calls[0][0][0].split()) <= 24 + 6  # LaMP's budget covers items, not separators


def test_scores_use_the_same_prompts_as_answers():
    example = headline(1)
    arguments = [example.query], [example.profile], ["a title"]
    assert Generic(Echo()).score(*arguments) > ContextInjection(Echo(), AllItems()).score(*arguments)


def test_a_baseline_without_a_model_cannot_score():
    example = headline(1)
    with pytest.raises(UserError, match="CopyInput"):
        CopyInput().score([example.query], [example.profile], ["x"])


@pytest.mark.parametrize(
    "personalizer",
    [
        Generic(Echo()),
        ContextInjection(Echo(), AllItems()),
        CopyInput(),
        ProfileMean(MAJORITY),
        KnownAnswers({}),
    ],
    ids=lambda one: type(one).__name__,
)
def test_baselines_implement_personalizer(personalizer: Personalizer):
    assert isinstance(personalizer, Personalizer)
    assert personalizer.respond([], []) == []


def _fields(query: Query) -> dict[str, object]:
    return {name: getattr(query, name) for name in query.__dataclass_fields__}


class Noting(Echo):
    """Extracts facts if the prompt requests facts, and echoes otherwise."""

    def generate(self, prompts: Sequence[str], **options: Any) -> list[list[str]]:
        echoes = super().generate(prompts, **options)
        return [
            [NOTED] if prompt.endswith("Facts:\n") else echo
            for prompt, echo in zip(prompts, echoes, strict=True)
        ]


def test_memory_extracts_facts_once_per_user_and_adds_them_to_the_prompt():
    model = Noting()
    both = [rating(1), rating(1), rating(2, scores=())]
    first, again, empty = answers(Memory(model), *both)
    noting, answering = (call[0] for call in model.calls)
    assert len(noting) == 1  # one call for one history; none for the empty one
    assert "review 0 | 4" in noting[0]
    known = "What is known of this user:\n- likes kettles\n- Rates 4\n"
    assert answering[0] == answering[1]
    assert answering[0].startswith(known)
    assert answering[2] == both[2].query.text
    assert first.context.summary == known.strip()
    assert first.context_tokens == again.context_tokens > 0 == empty.context_tokens
    assert first.tokens > again.tokens  # the extraction is counted once


def test_memory_reads_a_long_profile_in_chunks():
    model = Noting()
    answers(Memory(model), rating(1, scores=("4",) * 40))
    noting = model.calls[0][0]
    assert [prompt.count("\n- ") for prompt in noting] == [16, 16, 8]
