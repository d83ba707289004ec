"""The style score: own texts above those of others, whatever the topic or the number of texts."""

from __future__ import annotations

import numpy as np
import pytest

from personakit.tasks.style import LEAST_TEXTS, StyleScorer

from .writers import writers

TEXTS = writers(24)


def scores_of(own_text: bool) -> np.ndarray:
    """Scores of held-out texts, of the writer or of the next one, against the writer's others."""
    scorer, ids = StyleScorer(TEXTS), list(TEXTS)
    found = []
    for place, writer in enumerate(ids):
        text = TEXTS[writer if own_text else ids[place - 1]][0]
        found.append(scorer.score(text, TEXTS[writer][1:], writer))
    return np.array(found)


def test_own_texts_score_higher_than_texts_of_others():
    own, other = scores_of(own_text=True), scores_of(own_text=False)
    assert own.mean() > 0.85
    assert 0.3 < other.mean() < 0.65  # about half of the impostors are less similar to a stranger's text
    assert own.mean() - other.mean() > 0.3


def test_topic_alone_does_not_make_a_text_a_writers_own():
    """Rare words are masked: swapping them all leaves the score as it is."""
    scorer = StyleScorer(TEXTS)
    text, own = TEXTS["w0"][0], TEXTS["w0"][1:]
    assert scorer.score(text + " zanzibar", own, "w0") == scorer.score(text + " xylophone", own, "w0")


def test_number_of_own_texts_does_not_raise_the_floor():
    """The mean of many texts is closer to any text than that of few; standardising takes that out."""
    scorer = StyleScorer(writers(24, seed=1))
    strangers = writers(12, texts=1, seed=2)
    few, many = (
        np.mean([scorer.score(text, TEXTS["w3"][:count]) for [text] in strangers.values()])
        for count in (LEAST_TEXTS, 8)
    )
    assert abs(few - many) < 0.2


def test_a_batch_scores_as_texts_one_by_one_and_few_own_texts_score_nothing():
    scorer = StyleScorer(TEXTS)
    texts, owns = [TEXTS["w0"][0], TEXTS["w1"][0], "hey"], [TEXTS["w0"][1:], TEXTS["w1"][1:], TEXTS["w2"][:2]]
    ids = ["w0", "w1", "w2"]
    batch = scorer.scores(texts, owns, ids)
    assert batch[:2].tolist() == [scorer.score(*one) for one in list(zip(texts, owns, ids, strict=True))[:2]]
    assert np.isnan(batch[2])
    assert scorer.scores([], [], []).tolist() == []


def test_too_few_writers_are_refused():
    with pytest.raises(ValueError, match="4 writers, expected at least 5"):
        StyleScorer(writers(4))
