"""Edit share, and rewrites limited to a share of words."""

from __future__ import annotations

import random

import pytest

from personakit.tasks.edits import MOST_UNDONE, edit_share, limit_edits, undo_edits


@pytest.mark.parametrize(
    ("draft", "candidate", "share"),
    [
        ("a b c d", "a b c d", 0),
        ("a b c d", "a\n\nb  c d", 0),  # layout is not a word
        ("a b c d", "A b c d", 0.25),
        ("a b c d", "a b, c d", 0.25),
        ("a b c d", "a b d", 0.25),
        ("a b c d", "Hi a b c d now", 0.5),
        ("a", "x y z", 3),
        ("", "x y", 2),
        ("", "", 0),
    ],
)
def test_edit_share_is_words_changed_over_the_drafts_words(draft: str, candidate: str, share: float):
    assert edit_share(draft, candidate) == share


DRAFT = """The meeting is at 9.
It will be in room B.
We need to discuss the plan and the budget for it.
Regards,"""


@pytest.mark.parametrize(
    ("candidate", "share", "limited"),
    [
        # within the limit: as it is
        (DRAFT.replace("Regards,", "Cheers,"), 0.1, DRAFT.replace("Regards,", "Cheers,")),
        # opening and sign-off first, although the sentence's edit is no dearer
        (
            "Hi all,\nThe meeting starts at 9.\nIt will be in room B.\nWe should talk about the plan and the "
            "budget for it.\nCheers,",
            0.14,
            "Hi all,\n" + DRAFT.replace("Regards,", "Cheers,"),
        ),
        # the sentence with the fewer changes; the other one is not changed by halves
        (
            DRAFT.replace("is at", "starts at").replace(
                "need to discuss the plan", "should talk about a plan"
            ),
            0.1,
            DRAFT.replace("is at", "starts at"),
        ),
        # case and punctuation before other edits
        (
            DRAFT.replace("room B", "Room B").replace("The meeting is", "Our call is"),
            0.05,
            DRAFT.replace("room B", "Room B"),
        ),
        ("Something else entirely.", 0.2, DRAFT),
        (DRAFT.upper(), 0.0, DRAFT),
    ],
)
def test_limit_keeps_the_most_useful_edits(candidate: str, share: float, limited: str):
    assert limit_edits(DRAFT, candidate, share) == limited


def test_edits_that_are_not_allowed_are_left_out():
    candidate = "Hi Bob,\n" + DRAFT.replace("room B", "Room B")
    without_bob = limit_edits(DRAFT, candidate, 1.0, lambda text: "Bob" not in text)
    assert without_bob == DRAFT.replace("room B", "Room B")


def test_new_sentence_stays_before_the_new_sign_off():
    draft = "It is done. The fox jumps over the dog."
    new = "The fox jumps over the dog. I will send it.\nCheers, Ada"
    candidate = f"Everything that we had planned has been completed now. {new}"
    assert limit_edits(draft, candidate, 0.7) == f"It is done. {new}"


def test_any_limit_holds_for_any_texts():
    generator = random.Random(0)
    words = ["a", "b", "c.", "D", "d", "e,", "f\n", "g?\n\n"]
    for _ in range(300):
        draft, candidate = (" ".join(generator.choices(words, k=generator.randint(0, 12))) for _ in range(2))
        for share in (0.0, 0.2, 0.5, 1.0):
            limited = limit_edits(draft, candidate, share)
            assert edit_share(draft, limited) <= share
            assert limited.split() == draft.split() or limited != draft
        assert limit_edits(draft, candidate, 99) == candidate


@pytest.mark.parametrize(
    ("candidate", "text"),
    [
        ("hey, the key is on Friday in the hut. bye", "hey, the key is on Monday in the hut. bye"),
        ("the key is on Friday in the hut.", "the key is on Monday in the hut."),
        ("the key is in the hut. bye", "the key is on Monday in the hut. bye"),
        ("the key is on Monday!", "the key is on Monday!"),
    ],
)
def test_edits_that_cause_problems_are_undone(candidate: str, text: str):
    draft = "Hello there, the key is on Monday in the hut."
    assert undo_edits(draft, candidate, lambda text: int("Monday" not in text)) == text


@pytest.mark.parametrize("edits", [MOST_UNDONE, MOST_UNDONE + 1])
def test_of_many_edits_none_is_undone(edits: int):
    draft = "Monday " + " ".join(f"same W{number}" for number in range(edits - 1)) + " same"
    candidate = draft.lower().replace("monday", "Friday")
    checked: list[str] = []

    def problems(text: str) -> int:
        checked.append(text)
        return int("Monday" not in text)

    found = undo_edits(draft, candidate, problems)
    assert found == (candidate.replace("Friday", "Monday") if edits == MOST_UNDONE else draft)
    assert len(checked) <= MOST_UNDONE + 1


def test_the_draft_stands_where_undoing_does_not_help():
    assert undo_edits("The key.", "A key!", lambda text: 1) == "The key."
