"""The joint training step. Imports transformers: load it lazily.

TRL has no trainer for two policies with one loss, where one's reward is the other's likelihood, so
`training_step` is our own; the rest is transformers'. We override `training_step` and not `compute_loss`
because each model's backward pass must run with its own adapter active: gradient checkpointing repeats the
forward pass there. It also keeps only one model's activations in memory at a time. Gradients are clipped for
each model separately: DPO's are much larger and would scale down the policy gradient.
"""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from transformers import Trainer

from personakit.config.train_popi import JointSettings
from personakit.models.tokens import encode_prompts
from personakit.popi.adapters import (
    BASE,
    GENERATOR,
    INFERENCE,
    START,
    active_adapter,
    adapter_weights,
    set_trainable,
)
from personakit.popi.likelihood import PairLikelihood, likelihood
from personakit.popi.objective import (
    generator_loss,
    inference_loss,
    kl_estimates,
    leave_one_out,
    margins,
    rewards,
)
from personakit.popi.rows import TokenUser, Visit, WithSummary
from personakit.popi.schedule import roles_in_step, trained_roles
from personakit.popi.summaries import Summary, sample_summaries

#: Metrics in the progress bar and metrics.jsonl in addition to transformers' own.
METRICS = (
    *("reward", "reward_std", "margin", "accuracy", "generator_loss", "kl", "entropy", "summary_tokens"),
    *("summaries_capped", "summaries_empty", "summaries_distinct", "users_distinct"),
    *("groups_without_spread", "base_reward"),
    *("accuracy_none", "accuracy_another", "bits_over_none", "bits_over_another"),
    *("grad_norm_inference", "grad_norm_generator"),
)


@dataclass(frozen=True, slots=True)
class JointData:
    """Training data of the joint stage."""

    users: Sequence[TokenUser]
    visits: Sequence[Visit]
    """The rows of the trainer's datasets are indices into this sequence."""
    reference: Sequence[Mapping[int, tuple[float, float]]]
    """For each user, by pair index: log ref(chosen | query), log ref(rejected | query); without summary."""
    with_summary: WithSummary


class JointTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped here
    """Trains the `inference` and the `generator` adapter of one `PeftModel`."""

    optimizer: Any

    def __init__(
        self, model: Any, data: JointData, settings: JointSettings, tokenizer: Any, **rest: Any
    ) -> None:
        """`model` has the adapters (`adapters.add_adapters`) and TRL's fused LM head."""
        super().__init__(model=model, data_collator=_collate, processing_class=tokenizer, **rest)
        self._data = data
        self._settings = settings
        self._pad = int(
            tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        )
        self._train_metrics: dict[str, list[float]] = defaultdict(list)
        self._eval_metrics: dict[str, list[float]] = defaultdict(list)

    def create_optimizer(self, model: Any = None) -> Any:
        """Create AdamW with a learning rate for each adapter.

        Loading a checkpoint leaves only the active adapter with gradients, so they are enabled again here.
        """
        network = self.accelerator.unwrap_model(self.model if model is None else model)
        set_trainable(network, trained_roles(self._settings))
        if self.optimizer is None:
            kind, options = self.get_optimizer_cls_and_kwargs(self.args)
            rates = {
                INFERENCE: self._settings.learning_rate,
                GENERATOR: self._settings.generator_learning_rate,
            }
            groups = [
                {"params": adapter_weights(network, role), "lr": rates[role]}
                for role in trained_roles(self._settings)
            ]
            self.optimizer = kind(groups, **options | {"weight_decay": self._settings.weight_decay})
        return self.optimizer

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Sample summaries, reward them with the held-out pairs, accumulate the gradients of both models."""
        visits = [self._data.visits[place] for place in inputs["place"].tolist()]
        roles = roles_in_step(self._settings, self.state.global_step)
        network = self.accelerator.unwrap_model(model)
        network.train()
        with active_adapter(network, INFERENCE, trained=roles), self._evaluating(network):
            groups = self._sample_summaries(network, visits)
        pair_margins = self._generator_step(network, visits, groups, roles)
        present = self._present(visits)
        reward = rewards(pair_margins, present)
        values = self._values(groups, reward, pair_margins, present)
        if self._settings.base_share and "inference" in roles:
            base_margins = self._margins(network, visits, groups, answering=BASE, trained=roles)
            base_reward = rewards(base_margins, present)
            values["base_reward"] = float(base_reward.mean())
            reward = torch.lerp(reward, base_reward, self._settings.base_share)
        if "inference" in roles:
            values |= self._inference_step(network, visits, groups, reward, roles)
        if self.accelerator.sync_gradients:
            for role in roles:
                weights = adapter_weights(network, role)
                self._average_gradients(weights)
                norm = self.accelerator.clip_grad_norm_(weights, self._settings.max_grad_norm)
                values[f"grad_norm_{role}"] = float(norm)
        self._record(self._train_metrics, values)
        objective: torch.Tensor = -reward.mean() / self.current_gradient_accumulation_steps
        return objective.detach()

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[torch.Tensor, None, None]:
        """Evaluate sampled summaries of held-out users against no summary and another user's summary."""
        visits = [self._data.visits[place] for place in inputs["place"].tolist()]
        network = self.accelerator.unwrap_model(model)
        with active_adapter(network, INFERENCE, trained=()), self._evaluating(network):
            groups = self._sample_summaries(network, visits)
        pair_margins = self._margins(network, visits, groups, trained=())
        present = self._present(visits)
        reward = rewards(pair_margins, present)
        values = self._values(groups, reward, pair_margins, present)
        controls = {"none": _empty_summaries(visits), "another": self._other_summaries(network, visits)}
        for name, summaries in controls.items():
            if summaries:
                control = self._margins(network, visits, summaries, trained=())
                gain = float(reward.mean() - rewards(control, present).mean())
                values |= {
                    f"accuracy_{name}": _accuracy(control, present),
                    f"bits_over_{name}": gain / math.log(2),
                }
        self._record(self._eval_metrics, values)
        return -reward.mean(), None, None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log the mean metrics since the last call in addition to transformers' own."""
        metrics, prefix = (self._eval_metrics, "eval_") if "eval_loss" in logs else (self._train_metrics, "")
        means = {prefix + name: sum(values) / len(values) for name, values in metrics.items()}
        metrics.clear()
        super().log(logs | means, start_time)

    def _load_best_model(self) -> None:
        # transformers looks for a single adapter in the checkpoint's folder and otherwise keeps the last
        # weights. Our adapters are in folders with their names, which resuming does read.
        self._load_from_checkpoint(self.state.best_model_checkpoint)

    def _other_summaries(self, network: Any, visits: Sequence[Visit]) -> list[list[Summary]]:
        """Sample one summary of the next held-out user for each visit; [] if there is only one user."""
        held_out = [self._data.visits[row["place"]] for row in self.eval_dataset]
        if len(held_out) < 2:
            return []
        following = dict(zip(held_out, [*held_out[1:], *held_out[:1]], strict=True))
        with active_adapter(network, INFERENCE, trained=()), self._evaluating(network):
            return self._sample_summaries(network, [following[each] for each in visits], group=1)

    def _sample_summaries(
        self, network: Any, visits: Sequence[Visit], group: int | None = None
    ) -> list[list[Summary]]:
        return sample_summaries(
            network,
            self.processing_class,
            [self._data.users[each.user].summary_prompt for each in visits],
            [each.place for each in visits],
            group=group or self._settings.num_summaries,
            cap=self._settings.max_summary_tokens,
            seed=self.args.seed,
        )

    def _generator_step(
        self,
        network: Any,
        visits: Sequence[Visit],
        groups: Sequence[Sequence[Summary]],
        roles: Sequence[str],
    ) -> torch.Tensor:
        """Return the margins, (B, G, K); accumulate the generator's gradient if it trains in this step."""
        trained_summaries = (
            (self._settings.generator_summaries or self._settings.num_summaries) if GENERATOR in roles else 0
        )
        parts = []
        if trained_summaries:
            some = [group[:trained_summaries] for group in groups]
            with active_adapter(network, GENERATOR, trained=roles):
                own = self._margins(network, visits, some, gradients=True, trained=roles)
                self._backward(generator_loss(own, self._present(visits)))
            parts.append(own.detach())
        if trained_summaries < self._settings.num_summaries:
            rest = [group[trained_summaries:] for group in groups]
            parts.append(self._margins(network, visits, rest, trained=roles))
        return torch.cat(parts, dim=1)

    def _inference_step(
        self,
        network: Any,
        visits: Sequence[Visit],
        groups: Sequence[Sequence[Summary]],
        reward: torch.Tensor,
        roles: Sequence[str],
    ) -> dict[str, float]:
        """Accumulate the inference model's gradient; return its metrics."""
        prompts = [self._data.users[each.user].summary_prompt for each in visits for _ in groups[0]]
        summaries = [summary.tokens for group in groups for summary in group]
        values: dict[str, float] = {}
        if self._settings.kl_coef:
            with active_adapter(network, START, trained=roles), self._evaluating(network), torch.no_grad():
                log_start = self._likelihood(network, prompts, summaries).log_p.view(len(visits), -1)
        with active_adapter(network, INFERENCE, trained=roles):
            current = self._likelihood(network, prompts, summaries)
            log_q = current.log_p.view(len(visits), -1)
            if self._settings.kl_coef:
                kl = kl_estimates(log_q, log_start)
                values["kl"] = float(kl.mean())
                reward = reward - self._settings.kl_coef * kl
            self._backward(inference_loss(log_q, leave_one_out(reward)))
        values["entropy"] = float(current.entropy.sum()) / sum(map(len, summaries))
        return values

    def _margins(
        self,
        network: Any,
        visits: Sequence[Visit],
        groups: Sequence[Sequence[Summary]],
        *,
        trained: Sequence[str],
        gradients: bool = False,
        answering: str = GENERATOR,
    ) -> torch.Tensor:
        """Return the margins, (B, summaries per group, K), under the adapter `answering`.

        Equal summaries of a user are computed once. If a user has fewer than K pairs, the first pair fills
        the remaining entries (`_present` masks them).
        """
        prompts: list[str] = []
        answers: list[list[int]] = []
        # For each visit and summary, the rows of the pairs' chosen answers; the rejected ones follow them.
        chosen_rows: list[list[list[int]]] = []
        for each, group in zip(visits, groups, strict=True):
            pairs = [self._data.users[each.user].pairs[number] for number in each.pairs]
            rows: dict[str, list[int]] = {}
            for summary in group:
                if summary.text not in rows:
                    rows[summary.text] = [len(answers) + 2 * at for at in range(len(pairs))]
                    for pair in pairs:
                        prompts += [self._data.with_summary(pair.request, summary.text)] * 2
                        answers += [pair.chosen, pair.rejected]
            group_rows = [rows[summary.text] for summary in group]
            chosen_rows.append([row + row[:1] * (self._settings.num_pairs - len(row)) for row in group_rows])
        ids = encode_prompts(self.processing_class, prompts)
        with active_adapter(network, answering, trained=trained):
            if gradients:
                log_p = self._likelihood(network, ids, answers).log_p
            else:
                with self._evaluating(network), torch.no_grad():
                    log_p = self._likelihood(network, ids, answers).log_p
        chosen = torch.tensor(chosen_rows, device=log_p.device)
        reference_chosen, reference_rejected = self._reference(visits, log_p)
        return margins(
            log_p[chosen], log_p[chosen + 1], reference_chosen, reference_rejected, self._settings.beta
        )

    def _reference(self, visits: Sequence[Visit], like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the reference's log-probabilities of chosen and rejected answers, each (B, 1, K)."""
        rows = [[self._data.reference[each.user][number] for number in each.pairs] for each in visits]
        padded = [row + row[:1] * (self._settings.num_pairs - len(row)) for row in rows]
        both = torch.tensor(padded, dtype=like.dtype, device=like.device)[:, None]
        return both[..., 0], both[..., 1]

    def _present(self, visits: Sequence[Visit]) -> torch.Tensor:
        """Return the mask of existing pairs, (B, 1, K)."""
        rows = [[float(at < len(each.pairs)) for at in range(self._settings.num_pairs)] for each in visits]
        return torch.tensor(rows, device=self.args.device)[:, None]

    def _likelihood(
        self, model: Any, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
    ) -> PairLikelihood:
        if model.training:
            seen = sum(map(len, prompts)) + sum(map(len, answers))
            total = self.accelerator.gather(torch.tensor([seen], device=self.args.device)).sum()
            self.state.num_input_tokens_seen += int(total)
        # One autocast block per pass: casts cached under `no_grad` would have no gradient later.
        with self.compute_loss_context_manager():
            return likelihood(model, prompts, answers, pad_id=self._pad)

    def _backward(self, loss: torch.Tensor) -> None:
        self.accelerator.backward(loss / self.current_gradient_accumulation_steps)

    def _average_gradients(self, weights: Sequence[Any]) -> None:
        """Replace the gradients by their mean over all processes.

        The passes bypass DDP's wrapper, which expects one forward and backward pass per step: here there are
        two, each with one adapter's gradients.
        """
        if self.accelerator.num_processes > 1:
            gradients = [weight.grad for weight in weights]
            mean = self.accelerator.reduce(parameters_to_vector(gradients), reduction="mean")
            vector_to_parameters(mean, gradients)

    @contextlib.contextmanager
    def _evaluating(self, network: Any) -> Iterator[None]:
        """Run the block without dropout and in the precision of training."""
        training = network.training
        network.eval()
        try:
            with self.compute_loss_context_manager():
                yield
        finally:
            network.train(training)

    def _values(
        self,
        groups: Sequence[Sequence[Summary]],
        reward: torch.Tensor,
        pair_margins: torch.Tensor,
        present: torch.Tensor,
    ) -> dict[str, float]:
        """Return the metrics of one batch: `pair_margins` is (B, G, K), `reward` (B, G)."""
        summaries = [summary for group in groups for summary in group]
        weights = present.expand_as(pair_margins)
        spread = reward.amax(-1) - reward.amin(-1)
        trained_summaries = self._settings.generator_summaries or self._settings.num_summaries
        return {
            "reward": float(reward.mean()),
            "reward_std": float(reward.std(-1).mean()),
            "margin": float((pair_margins * weights).sum() / weights.sum()),
            "accuracy": _accuracy(pair_margins, present),
            "generator_loss": float(generator_loss(pair_margins[:, :trained_summaries], present)),
            "summary_tokens": sum(len(summary.tokens) for summary in summaries) / len(summaries),
            "summaries_capped": sum(summary.capped for summary in summaries) / len(summaries),
            "summaries_empty": sum(summary.empty for summary in summaries) / len(summaries),
            "summaries_distinct": sum(
                len({summary.text for summary in group}) / len(group) for group in groups
            )
            / len(groups),
            "users_distinct": len({group[0].text for group in groups}) / len(groups),
            "groups_without_spread": float((spread == 0).float().mean()),
        }

    def _record(self, metrics: dict[str, list[float]], values: dict[str, float]) -> None:
        """Append the means over all processes to `metrics`."""
        local = torch.tensor([list(values.values())], dtype=torch.double, device=self.args.device)
        means = self.accelerator.gather(local).mean(0)
        for name, value in zip(values, means.tolist(), strict=True):
            metrics[name].append(value)


def _empty_summaries(visits: Sequence[Visit]) -> list[list[Summary]]:
    return [[Summary("", [], capped=False)] for _ in visits]


def _accuracy(pair_margins: torch.Tensor, present: torch.Tensor) -> float:
    """Return the share of pairs with a margin above 0, a tie counting half; margins (B, summaries, K)."""
    weights = present.expand_as(pair_margins)
    hits = (pair_margins > 0).float() + 0.5 * (pair_margins == 0).float()
    return float((hits * weights).sum() / weights.sum())


def _collate(rows: Sequence[dict[str, int]]) -> dict[str, torch.Tensor]:
    return {"place": torch.tensor([row["place"] for row in rows])}
