"""The studies of `evidence.py`: data, method, settings, rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

#: Columns of the summary.
UNTRAINED = "over the best untrained row"
TRAINED = "over the best trained opponent"
WRONG_USER = "over another user's history"


@dataclass(frozen=True, kw_only=True)
class Study:
    """One table of the evidence.

    `data` names the data in the summary; a study without is not in it. `source` is a file that `personakit
    data import` reads with `imports`; None is lamp-mini. `rows` are those of `personakit eval` for the first
    training seed, `trained_rows` the ones that depend on the training, for the other seeds. `limit` is of
    queries a task (`eval --limit`).
    """

    about: str
    data: str
    method: str
    suite: str
    config: str
    rows: tuple[str, ...]
    trained_rows: tuple[str, ...]
    source: str | None = None
    imports: tuple[str, ...] = ()
    folds: int = 1
    settings: tuple[str, ...] = ()
    limit: int | None = None
    evaluation: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The row of the method."""
        return {"rpo": "RPO", "popi": "POPI", "pillow": "PILLOW"}[self.method]

    @property
    def opponents(self) -> dict[str, tuple[str, ...]]:
        """The rows that decide a claim, by column of the summary. A row that is not measured is left out."""
        return _OPPONENTS[self.method]

    @property
    def recipe(self) -> dict[str, Any]:
        """What a cell's scores depend on besides code, data and seed: cells of one table have the same."""
        names = ("config", "imports", "settings", "limit", "evaluation")
        return {name: getattr(self, name) for name in names}

    def rows_of(self, seed: int) -> tuple[str, ...]:
        """Return the rows to measure with a training seed."""
        return self.trained_rows if seed else self.rows


_OPPONENTS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "rpo": {
        UNTRAINED: (
            "generic",
            "copy the input",
            "majority class",
            "profile mode or mean",
            "context injection (zero-shot)",
        ),
        TRAINED: ("context injection, fine-tuned", "RPO, SFT only", "RPO, SFT continued"),
        WRONG_USER: ("RPO, another user's history",),
    },
    "popi": {
        UNTRAINED: ("base, no summary", "length alone", "prompted summary (zero-shot)"),
        TRAINED: ("population DPO", "raw history, DPO", "POPI, frozen generator"),
        WRONG_USER: ("POPI, another user's summary",),
    },
    "pillow": {UNTRAINED: ("random", "cosine", "MMR"), TRAINED: ("LoRA alone",), WRONG_USER: ()},
}
_RATINGS: Final = Study(
    about="Real reviews: the rating (LaMP_3), all 534 users with two reviews or more.",
    data="ratings of real reviews",
    method="rpo",
    suite="lamp",
    config="reviews",
    source="reviews_gap_dev.json",
    imports=("--min-items", "2", "--queries", "4"),
    folds=5,
    settings=("data.tasks=[LaMP_3]", "data.limit=480"),
    rows=("generic", "majority", "profile", "context", "context-tuned", "empty", "other"),
    trained_rows=("generic", "context-tuned", "empty", "other"),
    evaluation=("--task", "LaMP_3"),
)
_LAMP_MINI: Final = Study(
    about="The seven tasks of the built-in benchmark.",
    data="built-in benchmark, LaMP's seven tasks",
    method="rpo",
    suite="lamp",
    config="smollm2",
    settings=("data.tasks=[]", "data.limit=50"),
    limit=40,
    rows=("generic", "copy", "majority", "profile", "context", "context-tuned", "empty", "other", "oracle"),
    trained_rows=("generic", "context-tuned", "empty", "other", "oracle"),
)
_PREFERENCES: Final = Study(
    about="",
    data="",
    method="popi",
    suite="preference",
    config="smollm2",
    settings=("controls.population_dpo=true", "controls.raw_dpo=true"),
    limit=100,
    rows=("base", "length", "population", "history-dpo", "prompted", "other", "oracle"),
    trained_rows=("base", "population", "history-dpo", "other", "oracle"),
)
_INSTRUCTIONS: Final = Study(
    about="",
    data="",
    method="pillow",
    suite="instruction",
    config="smollm2",
    limit=100,
    rows=("alone", "random", "cosine", "mmr", "greedy"),
    trained_rows=("alone", "random", "cosine", "mmr", "greedy"),
    evaluation=("--no-variants",),
)
STUDIES: Final = {
    "ratings-gap": _RATINGS,
    "ratings-amazon": replace(
        _RATINGS,
        about="Real reviews with few and short histories: the rating, all 126 users with two or more.",
        data="ratings of real reviews, short histories",
        source="reviews_amazon_dev.json",
        settings=(*_RATINGS.settings, "sft.num_train_epochs=2"),
    ),
    "ratings-gap-rl": replace(
        _RATINGS,
        about="Real reviews: the rating, RL after SFT against SFT for as many tokens.",
        data="ratings of real reviews, with RL",
        settings=(
            *_RATINGS.settings,
            *("stages=all", "rl.max_steps=24", "rl.learning_rate=1e-4"),
            *("rl.num_generations=8", "rl.temperature=1.0"),
            *("controls.sft_continued=true", "controls.fine_tuned_context_injection=false"),
        ),
        rows=("sft", "sft-continued", "majority", "empty", "other"),
        trained_rows=("sft", "sft-continued", "empty", "other"),
    ),
    "titles-gap": replace(
        _RATINGS,
        about="Real reviews: the title (LaMP_5), all 534 users with two reviews or more.",
        data="titles of real reviews",
        settings=("data.tasks=[LaMP_5]", "data.limit=920"),
        rows=("generic", "copy", "profile", "context", "context-tuned", "empty", "other"),
        evaluation=("--task", "LaMP_5"),
    ),
    "email": Study(
        about="Rewritten e-mails, the draft is the given text: two rewrites of each of 227 users.",
        data="rewritten e-mails",
        method="rpo",
        suite="rewriting",
        config="email",
        source="email_rewriting.csv",
        folds=5,
        limit=90,
        rows=("copy", "peer", "context", "context-tuned", "checked", "empty", "other"),
        trained_rows=("copy", "context-tuned", "checked", "empty", "other"),
        evaluation=("--max-edit", "0.2"),
    ),
    "p-soups": replace(
        _PREFERENCES,
        about="Preference pairs of two personas: every pair once. Two personas are no sample of users; the "
        "intervals are over clusters of prompts.",
        data="preferences of two real personas",
        config="p-soups",
        source="p_soups_student_phd.json",
        folds=5,
        limit=None,
    ),
    "alpaca": replace(
        _INSTRUCTIONS,
        about="Alpaca's instructions: which worked example precedes them.",
        data="Alpaca's instructions",
        config="alpaca",
        source="alpaca_en_demo.json",
        settings=("controls.full_fine_tuning=false",),  # no row of the table
    ),
    "lamp-mini-rpo": _LAMP_MINI,
    "lamp-mini-transfer": replace(
        _LAMP_MINI,
        about="A rewriter trained as in lamp-mini-rpo, with base models that it was not trained with.",
        data="",  # its rows compare bases
        settings=(*_LAMP_MINI.settings, "controls.fine_tuned_context_injection=false"),
        rows=("generic",),
        trained_rows=("generic",),
        evaluation=("--base", "smollm2:terse", "--base", "smollm2:noisy", "--base", "nano"),
    ),
    "lamp-mini-popi": replace(
        _PREFERENCES,
        about="Preference pairs of the built-in benchmark.",
        data="built-in preferences",
        evaluation=("--no-per-user",),
    ),
    "lamp-mini-popi-frozen": replace(
        _PREFERENCES,
        about="Preference pairs of the built-in benchmark: both models trained together, or the "
        "inference model alone, for the untrained base model.",
        data="built-in preferences, frozen generator",
        settings=("controls.frozen_generator=true",),
        rows=("base", "prompted", "frozen-generator", "other"),
        trained_rows=("base", "frozen-generator", "other"),
        evaluation=("--no-per-user",),
    ),
    "lamp-mini-pillow": replace(
        _INSTRUCTIONS,
        about="Notices of the built-in benchmark, with worked examples from a pool.",
        data="built-in instructions",
        settings=("data.limit=120",),
    ),
}
