"""Which of POPI's two models trains in a step of the joint stage, and checks of its settings."""

from __future__ import annotations

from personakit.config.train_popi import JointSettings
from personakit.errors import UserError
from personakit.popi.adapters import Role


def trained_roles(settings: JointSettings) -> tuple[Role, ...]:
    """Return the adapters that are trained in any step."""
    return ("inference",) if settings.schedule == "generator-frozen" else ("inference", "generator")


def roles_in_step(settings: JointSettings, step: int) -> tuple[Role, ...]:
    """Return the adapters that are trained in step `step`, counted from 0."""
    if settings.schedule != "alternating":
        return trained_roles(settings)
    return ("inference",) if step // settings.alternate_every % 2 == 0 else ("generator",)


def check_joint(settings: JointSettings) -> None:
    """Raise `UserError` for conflicting settings."""
    used = settings.generator_summaries
    if used is not None and used > settings.num_summaries:
        raise UserError(
            f"generator_summaries is {used}, expected 1 to {settings.num_summaries} (num_summaries)",
            hint="omit it to train the generator on all summaries",
        )
    if settings.base_share and settings.reference != "base":
        raise UserError(
            f"base_share is {settings.base_share} and reference is {settings.reference}: the reward from the "
            "base model's answers needs the base model as the reference",
            hint="set reference=base, or base_share=0",
        )
