"""Which of POPI's two models trains in a step of the joint stage, and what its settings must fulfil."""

from __future__ import annotations

from personakit.config.train_popi import JointSettings
from personakit.errors import UserError
from personakit.popi.adapters import Role


def trained_roles(settings: JointSettings) -> tuple[Role, ...]:
    """Return which adapters train at all."""
    return ("inference",) if settings.schedule == "generator-frozen" else ("inference", "generator")


def roles_in_step(settings: JointSettings, step: int) -> tuple[Role, ...]:
    """Return which adapters train in a step (from 0)."""
    if settings.schedule != "alternating":
        return trained_roles(settings)
    return ("inference",) if step // settings.alternate_every % 2 == 0 else ("generator",)


def check_joint(settings: JointSettings) -> None:
    """Raise `UserError` for settings that do not go together."""
    used = settings.generator_summaries
    if used is not None and used > settings.num_summaries:
        raise UserError(
            f"generator_summaries is {used}, expected 1 to {settings.num_summaries} (num_summaries)",
            hint="leave it out to train the generator on all of them",
        )
    if settings.base_share and settings.reference != "base":
        raise UserError(
            f"base_share is {settings.base_share} and reference is {settings.reference}: what a summary is "
            "worth to the base is measured against the base's own answers",
            hint="set reference=base, or base_share=0",
        )
