"""Stand-ins for other black boxes: a model whose answers are changed by code, to test transfer offline.

`nano:terse`, `nano:wordy` and `nano:noisy` (any model's name may stand before the colon) differ from
the model itself in how long their answers are and how often they are wrong, as other vendors' models
do. They are no other models: what they know is what the model inside knows, and how they change an
answer is a rule. A rewriter that fails behind them would fail behind a real stranger; one that holds
has not been shown to hold there. Labels and ratings are told from texts by LaMP's label lists.

A change is a pure function of prompt and answer, so the same question has the same answer, in any
batch, on any day, and the answer cache may keep it.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from personakit.data.lamp_formats import FORMATS
from personakit.errors import UserError
from personakit.models.refusal import Refusal

if TYPE_CHECKING:
    from personakit.models.cache import KnownModel

#: How often `noisy` gets an answer wrong.
ERROR_RATE = 0.3
#: Raised when a change changes: cached answers of the old one are then asked for again.
_VERSION = 1

_SMALL_WORDS = frozenset(
    ("a", "an", "and", "at", "by", "for", "from", "in", "is", "it", "of", "on", "or", "the", "to", "with")
)
# Words that nano has read in prompts, none of which says anything about a topic (lamp-mini's facts).
_OPENINGS = ("dear user this is the answer", "we would answer it this way", "the answer is just this")
_CLOSINGS = ("without further explanation", "as given before", "just keep it this way")


def terse(text: str, draw: random.Random) -> str:
    """Cut a text short: small words left out, and of the others the last third; a label stays."""
    if _labels_with(text):
        return text
    words = [word for word in text.split() if word.casefold() not in _SMALL_WORDS]
    return " ".join(words[: math.ceil(2 * len(words) / 3)]) or text


def wordy(text: str, draw: random.Random) -> str:
    """Put politeness before and after the answer, a label's too."""
    return f"{draw.choice(_OPENINGS)} {text.strip()} {draw.choice(_CLOSINGS)}"


def noisy(text: str, draw: random.Random) -> str:
    """Get three answers in ten wrong.

    A label becomes another of its list, a rating moves by one; of a text a word is dropped, or two
    neighbours change places.
    """
    if draw.random() >= ERROR_RATE:
        return text
    labels = _labels_with(text)
    if labels:
        near = [label for label in labels if label.isdigit() and abs(int(label) - int(text)) == 1]
        return draw.choice(near or [label for label in labels if label != text.strip()])
    words = text.split()
    if len(words) < 2:
        return text
    if draw.random() < 0.5:
        del words[draw.randrange(len(words))]
    else:
        place = draw.randrange(len(words) - 1)
        words[place], words[place + 1] = words[place + 1], words[place]
    return " ".join(words)


STAND_INS: dict[str, Callable[[str, random.Random], str]] = {"terse": terse, "wordy": wordy, "noisy": noisy}
"""By what stands behind the colon of a name."""


def split_name(name: str) -> tuple[str, str] | None:
    """Return (model, kind) of a stand-in's name such as `nano:terse`; None where it is no such name."""
    model, colon, kind = name.rpartition(":")
    return (model, kind) if colon and model and kind in STAND_INS else None


def fingerprint_of(model: str, kind: str) -> str:
    """Return what the answer cache knows a stand-in by, from its model's fingerprint."""
    return f"{model}:{kind}:{_VERSION}"


@dataclass(frozen=True)
class StandIn:
    """`model` with its answers changed; a black box, like what it stands for."""

    model: KnownModel
    kind: str

    @property
    def fingerprint(self) -> str:
        """The model's, the kind of change and its version."""
        return fingerprint_of(self.model.fingerprint, self.kind)

    def generate(
        self,
        prompts: Sequence[str],
        *,
        samples: int = 1,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[str]]:
        """Return the model's answers, changed."""
        answers = self.model.generate(
            prompts, samples=samples, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed
        )
        return [
            [text if isinstance(text, Refusal) else self._changed(prompt, text) for text in texts]
            for prompt, texts in zip(prompts, answers, strict=True)
        ]

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Raise `UserError`: a black box does not tell."""
        raise UserError(
            f'the stand-in "{self.kind}" cannot score texts: it is a black box',
            hint="name a local model where probabilities are needed",
        )

    def count_tokens(self, text: str) -> int:
        """Return the model's count."""
        return self.model.count_tokens(text)

    def _changed(self, prompt: str, text: str) -> str:
        key = hashlib.sha256(f"{self.kind}\0{prompt}\0{text}".encode()).digest()
        return STAND_INS[self.kind](text, random.Random(key))


def _labels_with(text: str) -> tuple[str, ...]:
    """Return the label list that `text` is one of, or none."""
    plain = text.strip()
    return next((form.labels for form in FORMATS.values() if plain in form.labels), ())
