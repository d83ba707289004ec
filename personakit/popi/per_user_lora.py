"""One small LoRA adapter per user (OPPU, arXiv 2402.04401): a costly baseline of POPI.

Each adapter is trained during evaluation, by DPO on the user's own signal pairs, without a summary or other
users' data. POPI's summaries are compared with its cost: seconds and tokens per user, and weights to
store and switch. Rank, learning rate and steps are our choice.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from personakit.config.training import LoraSettings
from personakit.errors import UserError
from personakit.models.tokens import encode_answers, encode_prompts
from personakit.popi.rows import WithSummary
from personakit.records import PreferencePair


@dataclass(frozen=True, slots=True)
class PerUserSettings:
    """How an adapter is trained on one user's pairs; every step uses all of them."""

    learning_rate: float = 1e-2
    """For the built-in model; about 1e-4 for a model of 8 billion parameters."""
    max_steps: int = 8
    max_grad_norm: float = 1.0
    beta: float = 0.1
    lora: LoraSettings = field(default_factory=lambda: LoraSettings(r=4, lora_alpha=8))
    device: str = "auto"
    dtype: str = "auto"


@dataclass(frozen=True, slots=True)
class UserCost:
    """The cost of one user's adapter."""

    seconds: float
    tokens: int
    """Training tokens: prompts and answers of all pairs, times the steps."""
    bytes: int
    """Size of the adapter's weights in training precision."""


class PerUserLora:
    """Trains one adapter per user, one after the other, on one base model; scores with the latest."""

    def __init__(
        self, model: str, with_summary: WithSummary, settings: PerUserSettings | None = None
    ) -> None:
        """Load `model`: a folder, a hub name or `nano`; an adapter is merged into its base model.

        Raises `UserError` if there is no such model.
        """
        import torch
        from peft import get_peft_model
        from trl.trainer.utils import add_fused_lm_head

        from personakit.models.environment import silence_libraries
        from personakit.models.local import LocalModel
        from personakit.models.open import resolve_model
        from personakit.models.pretrained import load_pretrained
        from personakit.training.answer_head import score_answers_only
        from personakit.training.precision import decide_precision
        from personakit.training.stage import peft_config
        from personakit.training.weights import is_adapted

        silence_libraries()
        self._settings = settings or PerUserSettings()
        self._with_summary = with_summary
        self._precision = decide_precision(self._settings.device, self._settings.dtype)
        network, self._tokenizer, _, _ = load_pretrained(
            resolve_model(model), device=self._precision.device, dtype="float32"
        )
        if is_adapted(network):
            network = network.merge_and_unload()
        add_fused_lm_head(network, outputs=("log_probs", "entropy"))
        network.requires_grad_(False)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self._network: Any = get_peft_model(network, peft_config(self._settings.lora))
        score_answers_only(self._network)
        self._weights = [weight for weight in self._network.parameters() if weight.requires_grad]
        self._start = [weight.detach().clone() for weight in self._weights]
        self._model = LocalModel(self._network, self._tokenizer, name=model)
        self._pad = int(self._tokenizer.pad_token_id or self._tokenizer.eos_token_id)

    def fit(self, pairs: Sequence[PreferencePair]) -> UserCost:
        """Reset the adapter and train it on one user's signal pairs.

        Raises `UserError` if there are none.
        """
        import torch

        from personakit.popi.likelihood import likelihood
        from personakit.popi.objective import generator_loss, margins
        from personakit.training.finite import require_finite

        if not pairs:
            raise UserError(
                "a user has no signal pairs to train an adapter on", hint="skip the user in this row"
            )
        began = time.monotonic()
        prompts = encode_prompts(
            self._tokenizer, [self._with_summary(pair.prompt, "") for pair in pairs for _ in range(2)]
        )
        answers = encode_answers(
            self._tokenizer, [text for pair in pairs for text in (pair.chosen, pair.rejected)]
        )
        for weight, start in zip(self._weights, self._start, strict=True):
            weight.data.copy_(start)
        optimizer = torch.optim.AdamW(self._weights, self._settings.learning_rate, weight_decay=0.0)
        reference: torch.Tensor | None = None
        for step in range(1, self._settings.max_steps + 1):
            with torch.autocast(self._network.device.type, torch.bfloat16, enabled=self._precision.bf16):
                log_p = likelihood(self._network, prompts, answers, pad_id=self._pad).log_p
            both = log_p.view(1, 1, -1, 2)
            if reference is None:  # a new adapter has no effect: the first pass gives the reference
                reference = both.detach()
            pair_margins = margins(
                both[..., 0], both[..., 1], reference[..., 0], reference[..., 1], self._settings.beta
            )
            optimizer.zero_grad()
            torch.autograd.backward(generator_loss(pair_margins))
            norm = torch.nn.utils.clip_grad_norm_(self._weights, self._settings.max_grad_norm)
            require_finite(
                "gradient norm",
                norm,
                place=f"the adapter of user {pairs[0].user_id}, step {step}",
                hint=f"lower its learning rate (now {self._settings.learning_rate:g})",
            )
            optimizer.step()
        seen = sum(map(len, prompts)) + sum(map(len, answers))
        return UserCost(
            seconds=time.monotonic() - began,
            tokens=self._settings.max_steps * seen,
            bytes=sum(weight.numel() * weight.element_size() for weight in self._weights),
        )

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Return log p(completion | prompt) in nats with the latest adapter."""
        return self._model.score(prompts, completions)

    def reference(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Return log p(completion | prompt) in nats without an adapter."""
        with self._network.disable_adapter():
            return self._model.score(prompts, completions)

    def generate(self, prompts: Sequence[str], *, max_new_tokens: int, adapted: bool = True) -> list[str]:
        """Return greedy answers with the latest adapter, or without one."""
        with contextlib.nullcontext() if adapted else self._network.disable_adapter():
            return [texts[0] for texts in self._model.generate(prompts, max_new_tokens=max_new_tokens)]
