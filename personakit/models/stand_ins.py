"""Stand-ins for other black-box models: answers changed by rules, to test transfer offline.

`nano:terse`, `nano:wordy` and `nano:noisy` (any model name may precede the colon) differ from the model
itself in the length of answers and in the error rate, as other vendors' models do. They are not other models:
they know what the underlying model knows, and the changes follow rules. A rewriter that fails behind them
would fail behind a truly different model; one that succeeds may still fail there. Labels and ratings are
recognised by LaMP's label lists.

A change is a pure function of prompt and answer. Answers are thus reproducible, independent of batching, and
cacheable.
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
from personakit.models.fingerprint import answer_fingerprint
from personakit.models.refusal import Cut, NoAnswer, Refusal

if TYPE_CHECKING:
    from personakit.models.cache import FingerprintedModel

#: The share of answers that `noisy` makes wrong.
ERROR_RATE = 0.3
#: Increment when a change is modified, so that cached answers of the old version are not used.
_VERSION = 1

_SMALL_WORDS = frozenset(
    ("a", "an", "and", "at", "by", "for", "from", "in", "is", "it", "of", "on", "or", "the", "to", "with")
)
# Words that occur in nano's training prompts and carry no content (lamp-mini's facts).
_OPENINGS = ("dear user this is the answer", "we would answer it this way", "the answer is just this")
_CLOSINGS = ("without further explanation", "as given before", "just keep it this way")


def terse(text: str, draw: random.Random) -> str:
    """Shorten a text: remove small words, and the last third of the others. Labels are not changed."""
    if _label_list_of(text):
        return text
    words = [word for word in text.split() if word.casefold() not in _SMALL_WORDS]
    return " ".join(words[: math.ceil(2 * len(words) / 3)]) or text


def wordy(text: str, draw: random.Random) -> str:
    """Add polite phrases before and after the answer, also to labels."""
    return f"{draw.choice(_OPENINGS)} {text.strip()} {draw.choice(_CLOSINGS)}"


def noisy(text: str, draw: random.Random) -> str:
    """Make 30 % of answers wrong.

    A label is replaced by another one of its list, a rating changes by one. In a text, a word is removed or
    two neighbouring words are swapped.
    """
    if draw.random() >= ERROR_RATE:
        return text
    labels = _label_list_of(text)
    if labels:
        neighbours = [label for label in labels if label.isdigit() and abs(int(label) - int(text)) == 1]
        return draw.choice(neighbours or [label for label in labels if label != text.strip()])
    words = text.split()
    if len(words) < 2:
        return text
    if draw.random() < 0.5:
        del words[draw.randrange(len(words))]
    else:
        index = draw.randrange(len(words) - 1)
        words[index], words[index + 1] = words[index + 1], words[index]
    return " ".join(words)


STAND_INS: dict[str, Callable[[str, random.Random], str]] = {"terse": terse, "wordy": wordy, "noisy": noisy}
"""By the suffix after the colon of a name."""


def split_name(name: str) -> tuple[str, str] | None:
    """Return (model, kind) of a stand-in's name such as `nano:terse`, or None for other names."""
    model, colon, kind = name.rpartition(":")
    return (model, kind) if colon and model and kind in STAND_INS else None


def fingerprint_of(model: str, kind: str) -> str:
    """Return the fingerprint of a stand-in, given its model's."""
    return f"{model}:{kind}:{_VERSION}"


@dataclass(frozen=True)
class StandIn:
    """`model` with changed answers. Like the models it simulates, it has no log-probabilities."""

    model: FingerprintedModel
    kind: str

    @property
    def fingerprint(self) -> str:
        """The model's fingerprint, the kind of change and its version."""
        return fingerprint_of(self.model.fingerprint, self.kind)

    @property
    def answer_fingerprint(self) -> str:
        """The same, with what else determines the model's answers."""
        return fingerprint_of(answer_fingerprint(self.model), self.kind)

    def generate(
        self,
        prompts: Sequence[str],
        *,
        samples: int = 1,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[str]]:
        """Return the model's answers with the changes applied."""
        answers = self.model.generate(
            prompts, samples=samples, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed
        )
        return [
            [text if isinstance(text, Refusal | NoAnswer) else self._change(prompt, text) for text in texts]
            for prompt, texts in zip(prompts, answers, strict=True)
        ]

    def score(
        self, prompts: Sequence[str], completions: Sequence[str], *, begun: Sequence[str] | None = None
    ) -> list[float]:
        """Raise `UserError`: a black-box model returns no log-probabilities."""
        raise UserError(
            f'the stand-in "{self.kind}" cannot score texts, because it simulates a black box',
            hint="use a local model for log-probabilities",
        )

    def count_tokens(self, text: str) -> int:
        """Return the model's token count."""
        return self.model.count_tokens(text)

    def _change(self, prompt: str, text: str) -> str:
        key = hashlib.sha256(f"{self.kind}\0{prompt}\0{text}".encode()).digest()
        changed = STAND_INS[self.kind](text, random.Random(key))
        return Cut(changed) if isinstance(text, Cut) else changed


def _label_list_of(text: str) -> tuple[str, ...]:
    """Return the label list that contains `text`, or an empty tuple."""
    stripped = text.strip()
    return next((format_.labels for format_ in FORMATS.values() if stripped in format_.labels), ())
