"""The data records that all packages share: small, frozen, without heavy imports."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ProfileItem:
    """One thing a user wrote, rated or chose earlier.

    `fields` holds the item's LaMP fields (title, abstract, text, score, ...) as strings. `document` is the
    text that retrieval indexes (LaMP's `rank_profiles.py`), so that retrievers need no task knowledge.
    `date` is None in LaMP's user-based split.
    """

    id: str
    fields: Mapping[str, str]
    document: str
    date: str | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """A user's items, oldest first if they have dates, else in file order.

    `user_id` comes from the data. LaMP has none: the reader then derives one, and queries whose profiles
    share items get the same id.
    """

    user_id: str
    items: tuple[ProfileItem, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """One request of one user.

    `text` is the full input, template included; `search_text` is the part without the template, used by
    retrieval. `gold` is None if the data has no answer (LaMP's test split). `draft` is a generic
    answer that is there already: a rewriter then calls no base model.
    """

    id: str
    task: str
    text: str
    search_text: str
    user_id: str
    gold: str | None = None
    draft: str | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A query with its user's profile, as LaMP stores them."""

    query: Query
    profile: Profile


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two answers to one prompt. This user prefers `chosen`."""

    user_id: str
    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class Signals:
    """The evidence of a user's preferences from which POPI infers a summary.

    `pairs` are preference pairs; `comments` the user's own statements about their preferences; `about` facts
    about the user (demographics, a self-description); `items` a profile. Any of them may be empty.
    """

    pairs: tuple[PreferencePair, ...] = ()
    comments: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    items: tuple[ProfileItem, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is no signal of any kind."""
        return not (self.pairs or self.comments or self.about or self.items)


@dataclass(frozen=True, slots=True)
class PreferenceUser:
    """A user of a preference data set: signals, and held-out pairs for evaluation.

    No held-out pair or answer occurs in the signals. `persona` describes the user's preferences in words if
    the data has it; only an oracle may read it.
    """

    user_id: str
    signals: Signals
    pairs: tuple[PreferencePair, ...]
    persona: str | None = None


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction with its reference answer (Alpaca's three fields).

    `kind` is the category of the request if known (as in Dolly).
    """

    id: str
    instruction: str
    input: str
    output: str
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """The prompts that a `Selector` selects from: worked examples in a fixed order (PILLOW).

    `fingerprint` is a hash of their texts and order, not of their ids. `Pool.of` computes it.
    """

    prompts: tuple[Instruction, ...]
    fingerprint: str

    @classmethod
    def of(cls, prompts: Iterable[Instruction]) -> Pool:
        """Return the pool of `prompts`."""
        instructions = tuple(prompts)
        digest = hashlib.sha256()
        for instruction in instructions:
            for text in (instruction.instruction, instruction.input, instruction.output):
                digest.update(f"{len(text)}\0{text}\0".encode())
        return cls(instructions, digest.hexdigest())

    def __len__(self) -> int:
        return len(self.prompts)


@dataclass(frozen=True, slots=True)
class Context:
    """What is added to a query's prompt about its user: profile items, a summary, or selected prompts."""

    items: tuple[ProfileItem, ...] = ()
    summary: str | None = None
    prompts: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is no context of any kind."""
        return not (self.items or self.summary or self.prompts)


@dataclass(frozen=True, slots=True)
class Answer:
    """The output of a `Personalizer` for one query, with its cost.

    `generic` is the answer without context, if the method makes one. `tokens` counts prompt and completion
    tokens over all model calls for this answer; `context_tokens` only those of the context. `trace` holds
    named intermediate texts (RPO: evidence and plan). `seconds` is the query's share of the wall-clock time.
    `error` is set if there is no answer, `degraded` if a fallback was used, `refused` if a model refused
    (`models/refusal.py`; `text` is then its reply, or what was derived from it). Each holds the
    reason. `cut` says that the token limit ended the text. `prompt_cut` counts the prompt tokens, over all
    model calls, that were cut because they exceed the model's context window; `tokens` and
    `context_tokens` do not include them.
    """

    text: str
    generic: str | None = None
    context: Context = field(default_factory=Context)
    trace: Mapping[str, str] = field(default_factory=dict)
    tokens: int = 0
    context_tokens: int = 0
    seconds: float = 0.0
    error: str | None = None
    degraded: str | None = None
    refused: str | None = None
    cut: bool = False
    prompt_cut: int = 0
