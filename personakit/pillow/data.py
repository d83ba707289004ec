"""Data of `personakit train pillow`: instructions for fine-tuning and for RL, and the prompt pool."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from personakit.config import TrainPILLOW
from personakit.data import open_examples
from personakit.data.instructions import leaking_prompts, open_instructions, open_pool
from personakit.data.instructions.pools import check_pool
from personakit.errors import UserError
from personakit.pillow.encoding import FingerprintedEncoder, instruction_text
from personakit.pillow.episodes import Episodes
from personakit.pillow.history import item_pool, query_prompt
from personakit.pillow.wording import LampWording, PromptWording, Templated
from personakit.records import Instruction, Pool, ProfileItem, Query
from personakit.retrieval.bm25 import BM25Index
from personakit.training.supervised import PromptCompletion
from personakit.training.training_digests import store_digests, training_digest

LORA, TRAIN = "lora", "train"


@dataclass(frozen=True)
class PillowData:
    """Instructions of both stages, and their prompts.

    `tuning` is for fine-tuning, `matching` for RL; they are disjoint. `pool` is the shared pool, or None if
    each instruction has its user's pool (`tuning_pools`, `matching_pools`). `excluded` has, for each RL
    instruction, the indices of the prompts that would leak its answer.
    """

    tuning: Sequence[Instruction]
    matching: Sequence[Instruction]
    pool: Pool | None
    tuning_pools: Sequence[Pool]
    matching_pools: Sequence[Pool]
    excluded: Sequence[frozenset[int]]
    queries: dict[str, Query]
    items: dict[tuple[str, str], ProfileItem]
    held_out: int
    """Number of RL instructions, the last ones, that are evaluated on and not trained on."""
    fingerprint: str
    seen: frozenset[str]
    """Digests of the training queries and answers (`training.training_digests`)."""

    def counts(self) -> dict[str, int]:
        """Return the sizes of the parts; "kept_out" counts excluded pairs of instruction and prompt."""
        return {
            "tuning": len(self.tuning),
            "matching": len(self.matching) - self.held_out,
            "held_out": self.held_out,
            "prompts": len(self.pool) if self.pool is not None else sum(map(len, self.matching_pools)),
            "kept_out": sum(map(len, self.excluded)),
        }

    def wording(self, config: TrainPILLOW, count_tokens: Callable[[str], int]) -> PromptWording:
        """Return the wording of prompts."""
        if self.pool is not None:
            return Templated(config.data.template)
        return LampWording(
            self.queries, self.items, count_tokens=count_tokens, max_length=config.prompt_tokens
        )

    def episodes(self, encoder: FingerprintedEncoder, which: slice) -> Episodes:
        """Return the slice `which` of the RL instructions as episodes."""
        asked, out = self.matching[which], self.excluded[which]
        if self.pool is not None:
            return Episodes.of_one_pool(asked, self.pool.prompts, out, encoder)
        return Episodes.of_own_pools(
            asked, [pool.prompts for pool in self.matching_pools[which]], out, encoder
        )


def open_data(config: TrainPILLOW) -> PillowData:
    """Open the configured data.

    Raises `UserError` for a pool that is empty, too small, or contains a prompt twice.
    """
    opened = _of_tasks(config) if config.data.tasks else _of_instructions(config)
    if len(opened.matching) <= opened.held_out:
        raise UserError(
            f"data.held_out is {opened.held_out}, expected less than {len(opened.matching)} instructions",
            hint="lower data.held_out",
        )
    return opened


def _of_instructions(config: TrainPILLOW) -> PillowData:
    data = config.data
    opened = open_pool(data.pool, data.path, limit=data.pool_limit)
    check_pool(opened.pool, opened.name, config.matcher.m)
    tuning, matching = open_instructions(data.path, LORA), open_instructions(data.path, TRAIN)
    if data.limit is not None:
        tuning, matching = tuning.subset(data.limit), matching.subset(data.limit)
    if data.pool == TRAIN:
        raise UserError(
            "data.pool is train: the matching network would learn to select an instruction's own answer",
            hint=f"set data.pool={LORA}, or name a file of prompts",
        )
    return PillowData(
        tuning=tuning,
        matching=matching,
        pool=opened.pool,
        tuning_pools=(),
        matching_pools=(),
        excluded=leaking_prompts(matching, opened.pool),
        queries={},
        items={},
        held_out=data.held_out,
        fingerprint=_digest(tuning.fingerprint, matching.fingerprint, opened.pool.fingerprint),
        seen=frozenset(
            training_digest(instruction_text(one), one.output) for part in (tuning, matching) for one in part
        ),
    )


def _of_tasks(config: TrainPILLOW) -> PillowData:
    """Open the training queries of LaMP tasks: the first half of each for fine-tuning, the rest for RL."""
    data = config.data
    halves: tuple[list[tuple[Instruction, Pool]], list[tuple[Instruction, Pool]]] = ([], [])
    queries: dict[str, Query] = {}
    items: dict[tuple[str, str], ProfileItem] = {}
    digests, seen = [], set()
    for task in data.tasks:
        examples = open_examples(data.path, task, TRAIN)
        count = len(examples) if data.limit is None else min(data.limit, len(examples))
        seen |= set(store_digests(examples.subset(count)))
        half = count // 2 if config.tuning.enabled else 0
        for place in range(count):
            example = examples[place]
            queries[example.query.id] = example.query
            items |= {(example.query.id, item.id): item for item in example.profile.items}
            one, pool = query_prompt(example.query), item_pool(task, example.profile.items)
            # RL compares selections: with fewer than two prompts there is no choice.
            if place < half or len(pool) > 1:
                halves[place >= half].append((one, pool))
        digests.append(examples.fingerprint)
    tuning, matching = halves
    if not matching:
        raise UserError(
            f"{data.path}: no query of {', '.join(data.tasks)} has a history to select from",
            hint="inspect the data with personakit data check",
        )
    order = Random(f"pillow tasks {config.seed}")
    order.shuffle(matching)
    return PillowData(
        tuning=[one for one, _ in tuning],
        matching=[one for one, _ in matching],
        pool=None,
        tuning_pools=[pool for _, pool in tuning],
        matching_pools=[pool for _, pool in matching],
        excluded=[leaking_prompts([one], pool)[0] for one, pool in matching],
        queries=queries,
        items=items,
        held_out=data.held_out,
        fingerprint=_digest(*digests),
        seen=frozenset(seen),
    )


def tuning_examples(data: PillowData, wording: PromptWording, config: TrainPILLOW) -> list[PromptCompletion]:
    """Return the fine-tuning examples: instructions, a share of them with few-shot examples.

    The few-shot examples are those with the highest BM25 score among randomly drawn ones, the best one next
    to the instruction; none has the same answer. They come from the same stage's instructions, or from the
    user's history in LaMP tasks. With purely random examples a small model learns to ignore them.
    """
    random = Random(f"pillow shown {config.seed}")
    tuning = config.tuning
    made = []
    for place, asked in enumerate(data.tuning):
        examples: Sequence[Instruction] = (
            data.tuning_pools[place].prompts if data.pool is None else data.tuning
        )
        shown: list[Instruction] = []
        if tuning.num_shots and random.random() < tuning.few_shot_share:
            drawn = random.sample(range(len(examples)), min(tuning.shot_candidates, len(examples)))
            others = [examples[at] for at in drawn if examples[at].output != asked.output]
            scores = BM25Index([instruction_text(each) for each in others]).scores(instruction_text(asked))
            shown = [others[at] for at in (-scores).argsort(kind="stable")[: tuning.num_shots]]
        made.append(PromptCompletion(wording.prompt(asked, shown), asked.output))
    return made


def _digest(*fingerprints: str) -> str:
    return hashlib.sha256("\n".join(fingerprints).encode()).hexdigest()
