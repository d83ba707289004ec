"""The records every room passes around: small, frozen, no heavy import."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ProfileItem:
    """One thing a user wrote, rated or chose earlier.

    `fields` holds the item's own keys as LaMP names them (title, abstract, text, score, ...), as
    strings. `document` is what retrieval reads (LaMP's `rank_profiles.py`), so that a retriever
    needs to know no task. `date` is None in LaMP's user-based split.
    """

    id: str
    fields: Mapping[str, str]
    document: str
    date: str | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """A user's items, oldest first where they carry dates, else in file order.

    `user_id` is the data's own id, or, where LaMP gives none, an id made by the reader: queries
    whose profiles share items get the same one.
    """

    user_id: str
    items: tuple[ProfileItem, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """One request of one user.

    `text` is the full input as the benchmark words it; `search_text` is its non-template part, which
    retrieval uses. `gold` is None where the data has no answer (LaMP's test split).
    """

    id: str
    task: str
    text: str
    search_text: str
    user_id: str
    gold: str | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A query beside its user's profile, as LaMP stores them."""

    query: Query
    profile: Profile


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two answers to one prompt, of which this user prefers `chosen`."""

    user_id: str
    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class Signals:
    """What a user has shown of their taste, of any kind: what a summary is inferred from (POPI).

    `comments` are the user's own words about what they like; `about` is what is known of them in words
    (demographics, a self-description); `items` is a history. Any kind may be missing.
    """

    pairs: tuple[PreferencePair, ...] = ()
    comments: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    items: tuple[ProfileItem, ...] = ()

    @property
    def empty(self) -> bool:
        """True where the user has shown nothing."""
        return not (self.pairs or self.comments or self.about or self.items)


@dataclass(frozen=True, slots=True)
class PreferenceUser:
    """A user as preference data has them: signals to infer from, and held-out pairs to be judged on.

    No held-out pair, and no answer of one, stands among the signals. `persona` says in words what the user
    wants, where the data knows (an oracle reads it; no method does).
    """

    user_id: str
    signals: Signals
    pairs: tuple[PreferencePair, ...]
    persona: str | None = None


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction with its reference answer (Alpaca's three fields).

    `kind` says what sort of request it is, where that is known (Dolly's category).
    """

    id: str
    instruction: str
    input: str
    output: str
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """The prompts that a `Selector` picks from: worked examples, in a fixed order (PILLOW).

    `fingerprint` is a digest of their texts and order, not of their ids; `Pool.of` computes it.
    """

    prompts: tuple[Instruction, ...]
    fingerprint: str

    @classmethod
    def of(cls, prompts: Iterable[Instruction]) -> Pool:
        """Return the pool of `prompts`."""
        kept = tuple(prompts)
        digest = hashlib.sha256()
        for each in kept:
            for text in (each.instruction, each.input, each.output):
                digest.update(f"{len(text)}\0{text}\0".encode())
        return cls(kept, digest.hexdigest())

    def __len__(self) -> int:
        return len(self.prompts)


@dataclass(frozen=True, slots=True)
class Context:
    """What a model is told about a user for one query: items, a summary, or prompts."""

    items: tuple[ProfileItem, ...] = ()
    summary: str | None = None
    prompts: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """True where nothing at all is known of the user."""
        return not (self.items or self.summary or self.prompts)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a `Personalizer` says, and what it cost.

    `tokens` counts prompt and completion over *all* calls made for this answer, the generic one
    included; `context_tokens` only those that told a model about the user. `trace` holds named
    intermediate texts (RPO: evidence and plan). `error` is set when there is no answer,
    `degraded` when a fallback was used, `refused` when a model refused (`models/refusal.py`) and `text` is
    what it said, or what became of that; each says why in words. `cut`: the token limit ended the text.
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
