from __future__ import annotations

import pytest

from personakit.data.skips import counted


@pytest.mark.parametrize(
    ("count", "phrase", "expected"),
    [
        (2, "texts left out", "2 texts left out"),
        (0, "texts left out", "0 texts left out"),
        (1, "texts left out because they have none", "1 text left out because it has none"),
        (1, "blank rows", "1 blank row"),
        (1, "addresses", "1 address"),
        (1, "places", "1 place"),
        (1, "whatsapp sources left out: import them", "1 whatsapp source left out: import it"),
        (1, "lines of WhatsApp's own", "1 line of WhatsApp's own"),
        (1, "pairs that repeat one of the same user", "1 pair that repeats one of the same user"),
        (1, "texts left out because they repeat another", "1 text left out because it repeats another"),
        (1, "conversations that do not end", "1 conversation that does not end"),
        (1, "test queries that contradict it", "1 test query that contradicts it"),
        (1, "texts: their names stay", "1 text: its names stay"),
        (1, "classes", "1 class"),
        (2, "pairs that repeat one", "2 pairs that repeat one"),
        (1, "", "1 "),
    ],
)
def test_a_count_has_its_noun(count: int, phrase: str, expected: str) -> None:
    assert counted(count, phrase) == expected
