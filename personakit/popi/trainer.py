"""The joint training step. Imports transformers: load it lazily.

No trainer of TRL's has two policies under one loss, whose rewards are one's likelihoods under the other, so
`training_step` is ours; everything around it is transformers'. It is `training_step` and not `compute_loss`
because each model's backward pass has to run while its own adapter is on: under gradient checkpointing the
forward pass is made again there, with whatever adapter is on. It also holds one model's activations at a time
instead of both's. For the same reason gradients are clipped for each model by itself: DPO's are larger by
far, and would scale the policy gradient down with their own.
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
    active,
    adapter_weights,
    let_train,
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

#: What the bar and metrics.jsonl know beside transformers' own.
METRICS = (
    *("reward", "reward_std", "margin", "accuracy", "generator_loss", "kl", "entropy", "summary_tokens"),
    *("summaries_capped", "summaries_empty", "summaries_distinct", "users_distinct"),
    *("groups_without_spread", "base_reward"),
    *("accuracy_none", "accuracy_another", "bits_over_none", "bits_over_another"),
    *("grad_norm_inference", "grad_norm_generator"),
)


@dataclass(frozen=True, slots=True)
class JointData:
    """What is trained on."""

    users: Sequence[TokenUser]
    visits: Sequence[Visit]
    """A row of the trainer's dataset is a place in here."""
    reference: Sequence[Mapping[int, tuple[float, float]]]
    """Of each user's pairs that are met, by their number: log ref(chosen | request) and log ref(rejected |
    request). No summary in it."""
    with_summary: WithSummary


class JointTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped here
    """Trains the `inference` and the `generator` adapter of one `PeftModel`."""

    optimizer: Any

    def __init__(
        self, model: Any, data: JointData, settings: JointSettings, tokenizer: Any, **rest: Any
    ) -> None:
        """`model` carries the adapters (`adapters.put_on`) and TRL's fused head."""
        super().__init__(model=model, data_collator=_collate, processing_class=tokenizer, **rest)
        self._data = data
        self._settings = settings
        self._pad = int(
            tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        )
        self._measured: dict[str, list[float]] = defaultdict(list)
        self._judged: dict[str, list[float]] = defaultdict(list)

    def create_optimizer(self, model: Any = None) -> Any:
        """Make AdamW with a learning rate for each adapter.

        The trainer has loaded a checkpoint by now, which leaves only the adapter that is on with gradients.
        """
        network = self.accelerator.unwrap_model(self.model if model is None else model)
        let_train(network, trained_roles(self._settings))
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
        """Sample summaries, let the held-out pairs judge them, and add up the gradients of both models."""
        visits = [self._data.visits[place] for place in inputs["place"].tolist()]
        turn = roles_in_step(self._settings, self.state.global_step)
        network = self.accelerator.unwrap_model(model)
        network.train()
        with active(network, INFERENCE, trained=turn), self._evaluating(network):
            groups = self._sampled(network, visits)
        judged = self._judged_by_pairs(network, visits, groups, turn)
        present = self._present(visits)
        paid = rewards(judged, present)
        values = self._values(groups, paid, judged, present)
        if self._settings.base_share and "inference" in turn:
            by_base = rewards(self._margins(network, visits, groups, answering=BASE, trained=turn), present)
            values["base_reward"] = float(by_base.mean())
            paid = torch.lerp(paid, by_base, self._settings.base_share)
        if "inference" in turn:
            values |= self._inference_step(network, visits, groups, paid, turn)
        if self.accelerator.sync_gradients:
            for role in turn:
                weights = adapter_weights(network, role)
                self._average_gradients(weights)
                norm = self.accelerator.clip_grad_norm_(weights, self._settings.max_grad_norm)
                values[f"grad_norm_{role}"] = float(norm)
        self._note(self._measured, values)
        objective: torch.Tensor = -paid.mean() / self.current_gradient_accumulation_steps
        return objective.detach()

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[torch.Tensor, None, None]:
        """Judge sampled summaries of users who are not trained on, beside none and another user's."""
        visits = [self._data.visits[place] for place in inputs["place"].tolist()]
        network = self.accelerator.unwrap_model(model)
        with active(network, INFERENCE, trained=()), self._evaluating(network):
            groups = self._sampled(network, visits)
        judged = self._margins(network, visits, groups, trained=())
        present = self._present(visits)
        paid = rewards(judged, present)
        values = self._values(groups, paid, judged, present)
        for name, instead in (("none", self._none(visits)), ("another", self._others(network, visits))):
            if instead:
                told = self._margins(network, visits, instead, trained=())
                values |= {
                    f"accuracy_{name}": _accuracy(told, present),
                    f"bits_over_{name}": float(paid.mean() - rewards(told, present).mean()) / math.log(2),
                }
        self._note(self._judged, values)
        return -paid.mean(), None, None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log what was measured since the last time beside what transformers logs."""
        held, prefix = (self._judged, "eval_") if "eval_loss" in logs else (self._measured, "")
        means = {prefix + name: sum(values) / len(values) for name, values in held.items()}
        held.clear()
        super().log(logs | means, start_time)

    def _load_best_model(self) -> None:
        # transformers looks for the one adapter of the checkpoint's own folder, and goes on with the last
        # weights where there is none. Ours are in folders of their names, which a resume does read.
        self._load_from_checkpoint(self.state.best_model_checkpoint)

    def _none(self, visits: Sequence[Visit]) -> list[list[Summary]]:
        return [[Summary("", [], capped=False)] for _ in visits]

    def _others(self, network: Any, visits: Sequence[Visit]) -> list[list[Summary]]:
        """The first summary of the held-out user after each; none where there is one user alone."""
        held_out = [self._data.visits[row["place"]] for row in self.eval_dataset]
        if len(held_out) < 2:
            return []
        after = dict(zip(held_out, [*held_out[1:], *held_out[:1]], strict=True))
        with active(network, INFERENCE, trained=()), self._evaluating(network):
            return self._sampled(network, [after[each] for each in visits], group=1)

    def _sampled(
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

    def _judged_by_pairs(
        self,
        network: Any,
        visits: Sequence[Visit],
        groups: Sequence[Sequence[Summary]],
        turn: Sequence[str],
    ) -> torch.Tensor:
        """Return the margins, (B, G, K), and take the generator's gradient if it is its turn."""
        learnt = (
            (self._settings.generator_summaries or self._settings.num_summaries) if GENERATOR in turn else 0
        )
        parts = []
        if learnt:
            some = [group[:learnt] for group in groups]
            with active(network, GENERATOR, trained=turn):
                own = self._margins(network, visits, some, gradients=True, trained=turn)
                self._backward(generator_loss(own, self._present(visits)))
            parts.append(own.detach())
        if learnt < self._settings.num_summaries:
            rest = [group[learnt:] for group in groups]
            parts.append(self._margins(network, visits, rest, trained=turn))
        return torch.cat(parts, dim=1)

    def _inference_step(
        self,
        network: Any,
        visits: Sequence[Visit],
        groups: Sequence[Sequence[Summary]],
        paid: torch.Tensor,
        turn: Sequence[str],
    ) -> dict[str, float]:
        """Take the inference model's gradient; return what was measured on the way."""
        prompts = [self._data.users[each.user].summary_prompt for each in visits for _ in groups[0]]
        written = [summary.tokens for group in groups for summary in group]
        values: dict[str, float] = {}
        if self._settings.kl_coef:
            with active(network, START, trained=turn), self._evaluating(network), torch.no_grad():
                before = self._scored(network, prompts, written).log_p.view(len(visits), -1)
        with active(network, INFERENCE, trained=turn):
            said = self._scored(network, prompts, written)
            log_q = said.log_p.view(len(visits), -1)
            if self._settings.kl_coef:
                apart = kl_estimates(log_q, before)
                values["kl"] = float(apart.mean())
                paid = paid - self._settings.kl_coef * apart
            self._backward(inference_loss(log_q, leave_one_out(paid)))
        values["entropy"] = float(said.entropy.sum()) / sum(map(len, written))
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
        """Return the margins, (B, summaries of a group, K), of the generator's answers, or of the base's.

        Summaries of a user that read the same are run once. Where a user has fewer than K pairs, the places
        that are left over repeat the first (`_present` tells them apart).
        """
        prompts: list[str] = []
        answers: list[list[int]] = []
        # Of each visit's summaries, the rows in which the chosen answers of its pairs stand.
        first_row: list[list[list[int]]] = []
        for each, group in zip(visits, groups, strict=True):
            judges = [self._data.users[each.user].pairs[number] for number in each.pairs]
            rows: dict[str, list[int]] = {}
            for summary in group:
                if summary.text not in rows:
                    rows[summary.text] = [len(answers) + 2 * at for at in range(len(judges))]
                    for judge in judges:
                        prompts += [self._data.with_summary(judge.request, summary.text)] * 2
                        answers += [judge.chosen, judge.rejected]
            wide = [rows[summary.text] for summary in group]
            first_row.append([row + row[:1] * (self._settings.num_pairs - len(row)) for row in wide])
        ids = encode_prompts(self.processing_class, prompts)
        with active(network, answering, trained=trained):
            if gradients:
                log_p = self._scored(network, ids, answers).log_p
            else:
                with self._evaluating(network), torch.no_grad():
                    log_p = self._scored(network, ids, answers).log_p
        places = torch.tensor(first_row, device=log_p.device)
        better, worse = self._reference(visits, log_p)
        return margins(log_p[places], log_p[places + 1], better, worse, self._settings.beta)

    def _reference(self, visits: Sequence[Visit], like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The reference's log-probabilities, twice (B, 1, K)."""
        rows = [[self._data.reference[each.user][number] for number in each.pairs] for each in visits]
        wide = [row + row[:1] * (self._settings.num_pairs - len(row)) for row in rows]
        both = torch.tensor(wide, dtype=like.dtype, device=like.device)[:, None]
        return both[..., 0], both[..., 1]

    def _present(self, visits: Sequence[Visit]) -> torch.Tensor:
        """(B, 1, K): 1 where a user has a pair."""
        rows = [[float(at < len(each.pairs)) for at in range(self._settings.num_pairs)] for each in visits]
        return torch.tensor(rows, device=self.args.device)[:, None]

    def _scored(
        self, model: Any, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
    ) -> PairLikelihood:
        if model.training:
            seen = sum(map(len, prompts)) + sum(map(len, answers))
            total = self.accelerator.gather(torch.tensor([seen], device=self.args.device)).sum()
            self.state.num_input_tokens_seen += int(total)
        # One autocast block a pass: the casts that it keeps inside `no_grad` would have no gradient later.
        with self.compute_loss_context_manager():
            return likelihood(model, prompts, answers, pad_id=self._pad)

    def _backward(self, loss: torch.Tensor) -> None:
        self.accelerator.backward(loss / self.current_gradient_accumulation_steps)

    def _average_gradients(self, weights: Sequence[Any]) -> None:
        """Let every process have the mean of all processes' gradients.

        The passes go past DDP's wrapper, which would do so once a pair of passes: there are two of each
        before an optimizer step, each with one adapter's gradients.
        """
        if self.accelerator.num_processes > 1:
            gradients = [weight.grad for weight in weights]
            whole = self.accelerator.reduce(parameters_to_vector(gradients), reduction="mean")
            vector_to_parameters(whole, gradients)

    @contextlib.contextmanager
    def _evaluating(self, network: Any) -> Iterator[None]:
        """Without dropout, and in training's number format."""
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
        paid: torch.Tensor,
        judged: torch.Tensor,
        present: torch.Tensor,
    ) -> dict[str, float]:
        """What is logged of one batch of summaries; `judged` are margins (B, G, K), `paid` rewards (B, G)."""
        every = [summary for group in groups for summary in group]
        weights = present.expand_as(judged)
        spread = paid.amax(-1) - paid.amin(-1)
        learnt = self._settings.generator_summaries or self._settings.num_summaries
        return {
            "reward": float(paid.mean()),
            "reward_std": float(paid.std(-1).mean()),
            "margin": float((judged * weights).sum() / weights.sum()),
            "accuracy": _accuracy(judged, present),
            "generator_loss": float(generator_loss(judged[:, :learnt], present)),
            "summary_tokens": sum(len(summary.tokens) for summary in every) / len(every),
            "summaries_capped": sum(summary.capped for summary in every) / len(every),
            "summaries_empty": sum(summary.empty for summary in every) / len(every),
            "summaries_distinct": sum(
                len({summary.text for summary in group}) / len(group) for group in groups
            )
            / len(groups),
            "users_distinct": len({group[0].text for group in groups}) / len(groups),
            "groups_without_spread": float((spread == 0).float().mean()),
        }

    def _note(self, held: dict[str, list[float]], values: dict[str, float]) -> None:
        """Keep the means over all processes."""
        here = torch.tensor([list(values.values())], dtype=torch.double, device=self.args.device)
        means = self.accelerator.gather(here).mean(0)
        for name, value in zip(values, means.tolist(), strict=True):
            held[name].append(value)


def _accuracy(judged: torch.Tensor, present: torch.Tensor) -> float:
    """The share of pairs with a margin above 0, of (B, summaries, K); a tie is half."""
    weights = present.expand_as(judged)
    hits = (judged > 0).float() + 0.5 * (judged == 0).float()
    return float((hits * weights).sum() / weights.sum())


def _collate(rows: Sequence[dict[str, int]]) -> dict[str, torch.Tensor]:
    return {"place": torch.tensor([row["place"] for row in rows])}
