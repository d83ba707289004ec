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
        (1, "", "1 "),
    ],
)
def test_a_count_has_its_noun(count: int, phrase: str, expected: str) -> None:
    assert counted(count, phrase) == expected
