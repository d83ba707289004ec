"""One small LoRA adapter per user (OPPU, arXiv 2402.04401): a costly baseline of POPI.

Each adapter is trained during evaluation, by DPO on the user's own signal pairs, without a summary or other
users' data. POPI's summaries are compared with its cost: seconds and tokens per user, and weights to
store and switch. Rank, learning rate and steps are settings (`per_user`). The adapter is one more on the base
model that the other rows have loaded.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from personakit.config.train_popi import PerUserSettings
from personakit.config.training import LoraSettings
from personakit.errors import UserError
from personakit.models.tokens import encode_answers, encode_prompts
from personakit.popi.adapters import active_adapter, adapter_weights, set_trainable
from personakit.popi.models import AdaptedModel
from personakit.popi.rows import WithSummary
from personakit.records import PreferencePair

ADAPTER = "per user"
_MAX_GRAD_NORM = 1.0


@dataclass(frozen=True, slots=True)
class UserCost:
    """The cost of one user's adapter."""

    seconds: float
    tokens: int
    """Training tokens: prompts and answers of all pairs, times the steps."""
    bytes: int
    """Size of the adapter's weights in training precision."""


class PerUserLora:
    """Trains one adapter per user, one after the other, on a loaded base model; scores with the latest."""

    def __init__(
        self,
        base: AdaptedModel,
        with_summary: WithSummary,
        settings: PerUserSettings,
        *,
        learning_rate: float,
        beta: float,
    ) -> None:
        """Add the adapter to `base`, a `PeftModel` used without an adapter."""
        import torch
        from trl.trainer.utils import add_fused_lm_head

        from personakit.models.environment import suppress_peft_warnings
        from personakit.training.answer_head import score_answers_only
        from personakit.training.precision import decide_precision
        from personakit.training.stage import peft_config

        self._settings, self._learning_rate, self._beta = settings, learning_rate, beta
        self._with_summary = with_summary
        self._base = base
        self._network: Any = base.model
        self._tokenizer = base.tokenizer
        self._precision = decide_precision()
        add_fused_lm_head(self._network.get_base_model(), outputs=("log_probs", "entropy"))
        score_answers_only(self._network)
        lora = LoraSettings(r=settings.r, lora_alpha=settings.lora_alpha)
        with torch.random.fork_rng(), suppress_peft_warnings():
            torch.manual_seed(0)
            self._network.add_adapter(ADAPTER, peft_config(lora))
        self._weights = adapter_weights(self._network, ADAPTER)
        self._start = [weight.detach().clone() for weight in self._weights]
        self._model = base.with_adapter(ADAPTER)
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
        optimizer = torch.optim.AdamW(self._weights, self._learning_rate, weight_decay=0.0)
        reference: torch.Tensor | None = None
        for step in range(1, self._settings.max_steps + 1):
            with active_adapter(self._network, ADAPTER, trained=(ADAPTER,)):
                with torch.autocast(self._network.device.type, torch.bfloat16, enabled=self._precision.bf16):
                    log_p = likelihood(self._network, prompts, answers, pad_id=self._pad).log_p
                both = log_p.view(1, 1, -1, 2)
                if reference is None:  # a new adapter has no effect: the first pass gives the reference
                    reference = both.detach()
                pair_margins = margins(
                    both[..., 0], both[..., 1], reference[..., 0], reference[..., 1], self._beta
                )
                optimizer.zero_grad()
                torch.autograd.backward(generator_loss(pair_margins))
            norm = torch.nn.utils.clip_grad_norm_(self._weights, _MAX_GRAD_NORM)
            require_finite(
                "gradient norm",
                norm,
                place=f"the adapter of user {pairs[0].user_id}, step {step}",
                hint=f"lower per_user.learning_rate (now {self._learning_rate:g})",
            )
            optimizer.step()
        set_trainable(self._network, ())
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
        return self._base.score(prompts, completions)

    def generate(self, prompts: Sequence[str], *, max_new_tokens: int, adapted: bool = True) -> list[str]:
        """Return greedy answers with the latest adapter, or without one."""
        model = self._model if adapted else self._base
        return [texts[0] for texts in model.generate(prompts, max_new_tokens=max_new_tokens)]
