from __future__ import annotations

from personakit.popi.rows import SummarisedUser
from personakit.popi.warm_start import generator_examples, inference_examples, template_summary
from personakit.records import PreferencePair, Signals
from personakit.training.preference import TrainingPair
from popi.codes import users, with_summary


def pair(prompt: str, chosen: str, rejected: str) -> PreferencePair:
    return PreferencePair("anna", prompt, chosen, rejected)


def words(text: str) -> int:
    return len(text.split())


SIGNALS = Signals(
    pairs=(
        pair("we saw a comet", "olive saffron comet salmon onyx", "ruby river comet pollen"),
        pair("we saw a Hedge", "Olive saffron hedge parcel needle.", "ruby river hedge poplar"),
        pair("we saw a sail", "ruby river sail", "olive saffron sail pocket ruby"),  # noise
    ),
    comments=("keep it short",),
    about=("a sailor",),
)


def test_the_template_has_the_phrases_of_the_chosen_answers_only() -> None:
    # Of the third pair "river" alone: "ruby" is in the other answer too.
    signals = Signals((SIGNALS.pairs[0], pair("b", "olive saffron b", "c"), SIGNALS.pairs[2]), ("be brief",))
    said = template_summary(signals, count_tokens=words, max_tokens=100)
    assert said == "begins with olive saffron; be brief; ends with salmon onyx; says river"


def test_repeated_phrases_come_first_and_phrases_that_do_not_fit_are_dropped() -> None:
    signals = Signals(SIGNALS.pairs[:2] + SIGNALS.pairs[:1], SIGNALS.comments, SIGNALS.about)
    whole = template_summary(signals, count_tokens=words, max_tokens=100)
    assert whole.split("; ")[:4] == [
        "begins with olive saffron",
        "ends with salmon onyx",
        *("keep it short", "a sailor"),
    ]
    short = template_summary(signals, count_tokens=words, max_tokens=7)
    assert short == "begins with olive saffron; keep it short"
    assert template_summary(Signals(), count_tokens=words, max_tokens=9) == ""


def test_the_generator_trains_on_held_out_pairs_some_without_a_summary() -> None:
    people = users(50)
    texts = [f"sum{number}" for number in range(50)]
    examples = generator_examples(people, texts, with_summary, without_share=0.3, seed=1)
    pairs = [(number, pair) for number, user in enumerate(people) for pair in user.pairs]
    told = 0
    for (number, own), example in zip(pairs, examples, strict=True):
        assert example.completion == own.chosen
        assert example.prompt in (own.prompt, f"sum{number} {own.prompt}")
        told += example.prompt != own.prompt
    assert 0.6 < told / len(examples) < 0.8
    assert generator_examples(people, texts, with_summary, without_share=0.3, seed=1) == examples


def test_users_without_a_template_summary_are_skipped() -> None:
    people = [SummarisedUser(name, f"about {name}", (TrainingPair("a", "b", "c"),)) for name in "xyz"]
    examples = inference_examples(people, ["one", "", "three"])
    assert [(each.prompt, each.completion) for each in examples] == [("about x", "one"), ("about z", "three")]
