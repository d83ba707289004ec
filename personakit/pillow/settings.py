"""How the matching network learns."""

from __future__ import annotations

from dataclasses import dataclass

from personakit.pillow.policy import Algorithm


@dataclass(frozen=True, slots=True)
class MatchSettings:
    """Where no source stands, the value is our choice; the paper states none of them.

    Borrowed from RetICL (arXiv 2305.14502): learning rate 1e-3, gradients clipped at 2, 20 instructions a
    step.
    """

    algorithm: Algorithm = "reinforce"
    steps: int = 300
    batch_size: int = 20
    """Instructions per step."""
    selections: int = 4
    """Selections drawn of each, each other's baseline."""
    learning_rate: float = 1e-3
    warmup_steps: int = 0
    max_grad_norm: float = 2.0
    entropy_bonus: float = 0.01
    """What a nat of entropy is worth, in rewards, at the first step; it falls to nothing at the last."""
    ppo_epochs: int = 4
    """PPO: updates on the selections of one step."""
    ppo_clip: float = 0.2
    checkpoint_every: int = 50
    log_every: int = 10
    evaluate_every: int | None = None
    """Steps between measurements on held-out instructions; None: as often as checkpoints are written."""
