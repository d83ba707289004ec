"""How POPI's joint stage trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from personakit.errors import UserError
from personakit.popi.adapters import Role
from personakit.training.settings import StageSettings

Schedule = Literal["joint", "alternating", "generator-frozen"]


@dataclass(frozen=True, slots=True)
class JointSettings(StageSettings):
    """How to train the inference model and the generator under one objective.

    The paper states the objective alone. Borrowed: PLUS (arXiv 2507.13579): weight of the KL divergence 0.01,
    and that training reader and summariser together is stable; AlignXplore: G = 4, learning rate 1e-6,
    temperature 1.
    """

    learning_rate: float = 1e-5
    """Peak, of the inference model: ten times AlignXplore's, which trains all weights."""
    generator_learning_rate: float = 1e-5
    """Peak, of the generator."""
    batch_size: int = 8
    """Users per optimizer step, over all devices together."""
    micro_batch_size: int | None = None
    lora_rank: int = 16
    summaries: int = 4
    """G, summaries sampled of a user: each other's baseline."""
    pairs: int = 4
    """K, held-out pairs that judge all summaries of a user; of users who have fewer, all."""
    summary_tokens: int = 64
    """A summary is cut off here."""
    generator_summaries: int | None = None
    """The generator learns from so many of the G summaries (less memory and time); None: from all."""
    beta: float = 0.1
    """How dear it is for the generator to move away from the reference (per nat)."""
    kl: float = 0.01
    """Weight of KL(q || what q began as), per nat; 0: none, and one forward pass less."""
    base_share: float = 0.0
    """Share of a summary's reward that the base pays, to which summaries are as new as to any other model."""
    schedule: Schedule = "joint"
    alternate_every: int = 10
    """Alternating: steps of the inference model before as many of the generator."""
    reference: Literal["base", "generator"] = "base"
    """Whose answers without a summary the margin is measured against: the base's, or the warm-started
    generator's (which should then have been shown requests without a summary too)."""
    group_by_length: bool = False
    log_every: int = 1
    checkpoint_every: int = 50

    @property
    def trained(self) -> tuple[Role, ...]:
        """Which adapters train at all."""
        return ("inference",) if self.schedule == "generator-frozen" else ("inference", "generator")

    def turn(self, step: int) -> tuple[Role, ...]:
        """Which adapters train in a step (from 0)."""
        if self.schedule != "alternating":
            return self.trained
        return ("inference",) if step // self.alternate_every % 2 == 0 else ("generator",)


def check_joint(settings: JointSettings) -> None:
    """Raise `UserError` for values that mean nothing."""
    lowest = {"summaries": 2, "pairs": 1, "summary_tokens": 1, "alternate_every": 1, "lora_rank": 1}
    for name, least in lowest.items():
        if getattr(settings, name) < least:
            raise UserError(
                f"{name} is {getattr(settings, name)}, expected at least {least}",
                hint=f"set {name} to {least} or more",
            )
    used = settings.generator_summaries
    if used is not None and not 1 <= used <= settings.summaries:
        raise UserError(
            f"generator_summaries is {used}, expected 1 to {settings.summaries} (summaries)",
            hint="leave it out to train the generator on all of them",
        )
    if settings.beta <= 0 or settings.kl < 0:
        wrong, expected = ("beta", "more than 0") if settings.beta <= 0 else ("kl", "0 or more")
        raise UserError(
            f"{wrong} is {getattr(settings, wrong)}, expected {expected}",
            hint="0.1 and 0.01 are the defaults of beta and kl",
        )
    if not 0 <= settings.base_share <= 1:
        raise UserError(
            f"base_share is {settings.base_share}, expected 0 to 1",
            hint="0.5 lets the generator and the base pay alike",
        )
    if settings.base_share and settings.reference != "base":
        raise UserError(
            f"base_share is {settings.base_share} and reference is {settings.reference}: what a summary is "
            "worth to the base is measured against the base's own answers",
            hint="set reference=base, or base_share=0",
        )
    if settings.max_tokens is not None:
        raise UserError(
            "max_tokens is set, and how many tokens a step has is not known before its summaries are written",
            hint="bound the training by epochs or max_steps",
        )
