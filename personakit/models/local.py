"""`LocalModel`: local weights (transformers, PEFT) as a `LanguageModel`."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from personakit.errors import UserError
from personakit.models.fingerprint import fingerprint_of
from personakit.models.light import LightModel, load_light
from personakit.models.pretrained import load_pretrained
from personakit.models.refusal import Cut, NoAnswer, out_of_tokens
from personakit.models.stopwatch import loading
from personakit.models.tokens import (
    cut_middle,
    decode_answers,
    encode_answers,
    encode_continued,
    encode_prompts,
)
from personakit.models.turns import end_tokens, has_template
from personakit.steps import step

#: Padded tokens per KV cache. On a CPU, larger batches bring no further speed-up.
BATCH_TOKENS = {"cpu": 32_768, "mps": 32_768, "cuda": 65_536}
_BATCH_ROWS = {"cpu": 128, "cuda": 256}

#: Changed whenever `turns` writes prompts or ends answers in another way.
_LOADING = threading.RLock()
_TURNS = "turns-1"

_log = logging.getLogger(__name__)


class LocalModel:
    """A causal language model of transformers, with or without a PEFT adapter.

    A prompt is a string. If the tokenizer has a chat template, the prompt becomes one user message
    (`personakit.models.tokens`). Answers end at the model's end-of-sequence tokens, otherwise they are `Cut`.
    Reasoning is removed; reasoning without an answer gives a `NoAnswer`.

    Apart from rounding, greedy answers do not depend on the batch: padding changes the order of float
    additions, so the choice may differ if two tokens score within about 1e-5 of each other (bfloat16: 1e-1;
    `number_format` chooses the format, never by batch). Sampled answers
    use a random stream of their own (prompt, seed, sample number), with the same limitation.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str,
        fingerprint: str | None = None,
        folders: Sequence[Path] = (),
        truncate: bool = False,
        batch_tokens: int | None = None,
        batch_rows: int | None = None,
    ) -> None:
        """Wrap a loaded model, or one that is loaded when needed. Usually, call `load` instead.

        `truncate` removes the middle of prompts that exceed the context window instead of raising.
        `batch_tokens` and `batch_rows` limit a batch (defaults by device). The answer cache identifies the
        model by `fingerprint`, or by the hash of its `folders`.
        """
        self.name = name
        self._light = model if isinstance(model, LightModel) else None
        self._model = None if self._light else model.eval()
        self.tokenizer = tokenizer
        self.truncate = truncate
        device = "cuda" if self._model is not None and self._model.device.type == "cuda" else "cpu"
        self._batch_tokens = batch_tokens or BATCH_TOKENS[device]
        self._batch_rows = batch_rows or _BATCH_ROWS[device]
        self._fingerprint = fingerprint
        self._folders = tuple(folders)

    @classmethod
    def load(
        cls,
        name: str,
        *,
        adapter: Path | None = None,
        device: str = "auto",
        truncate: bool = False,
        batch_tokens: int | None = None,
        batch_rows: int | None = None,
    ) -> LocalModel:
        """Load a folder or a hub model, in bfloat16 on CUDA; on a CPU as `number_format` decides.

        A folder with a PEFT adapter loads its base model, too. Raises `UserError` if the name is neither a
        model folder nor available from the hub.

        Of a small Llama, only the tokenizer is loaded now. transformers is imported for the first request
        that needs it: any but a single prompt that is answered greedily (`llama`).
        """
        model, tokenizer, folders, revision = load_light(name, adapter=adapter, device=device) or (
            load_pretrained(name, adapter=adapter, device=device)
        )
        return cls(
            model,
            tokenizer,
            name=name,
            fingerprint=revision,
            folders=folders,
            truncate=truncate,
            batch_tokens=batch_tokens,
            batch_rows=batch_rows,
        )

    @property
    def model(self) -> Any:
        """The model of transformers, or of PEFT with an adapter; loaded now if it has not been needed yet."""
        with _LOADING:
            if self._model is None and self._light is not None:
                with loading():
                    self._model = self._light.load().eval()
                self._light = None
        return self._model

    @property
    def _described(self) -> Any:
        """The model or, before that is loaded, what is known of it: dtype, configuration, end tokens."""
        return self._light or self.model

    @cached_property
    def fingerprint(self) -> str:
        """Hash of weights, adapter, tokenizer and configuration."""
        if not self._fingerprint and not self._folders:
            raise UserError(
                f'model "{self.name}" has no fingerprint: it was constructed in memory',
                hint="pass fingerprint=... to cache its answers",
            )
        return fingerprint_of(self._fingerprint, self._folders)

    @property
    def dtype(self) -> str:
        """The number format of weights and activations, such as "float32"."""
        return str(self._described.dtype).removeprefix("torch.")

    @property
    def answer_fingerprint(self) -> str:
        """What determines the answers: the fingerprint, and what else is not as it was in the first version.

        That is the number format unless it is float32, and how messages are written, if there is a template.
        """
        parts = [self.fingerprint, "" if self.dtype == "float32" else self.dtype]
        parts.append(_TURNS if has_template(self.tokenizer) else "")
        return ":".join(filter(None, parts))

    @cached_property
    def context_window(self) -> int | None:
        """The maximum number of positions, or None if the configuration does not give it."""
        positions = getattr(self._described.config.get_text_config(), "max_position_embeddings", None)
        return int(positions) if positions else None

    def prompt_limit(self, max_new_tokens: int) -> int | None:
        """Return the maximum tokens (by `count_tokens`) of a prompt that is read whole; None: no limit."""
        if self.context_window is None:
            return None
        return max(0, self.context_window - max_new_tokens - self._template_tokens)

    @cached_property
    def _template_tokens(self) -> int:
        """The tokens that the chat template, or the beginning of sequence, adds to a prompt."""
        return len(encode_prompts(self.tokenizer, ["a"])[0]) - self.count_tokens("a")

    def generate(
        self,
        prompts: Sequence[str],
        *,
        samples: int = 1,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[str]]:
        """Return `samples` completions per prompt, in input order. Temperature 0 is greedy.

        Raises `UserError` if a prompt and `max_new_tokens` exceed the context window (unless `truncate`).
        """
        _check_decoding(samples=samples, max_new_tokens=max_new_tokens, temperature=temperature)
        ids = self._prompt_ids(prompts, reserved_tokens=max_new_tokens)
        light = self._light
        if light is not None and len(ids) == 1 and temperature == 0:
            with _LOADING, loading(), step(f"loading {self.name}"):
                llama = light.llama.model
            with step("generating", 1) as work:
                row = llama.generate(ids[0], max_new_tokens=max_new_tokens, end_ids=self._end_ids, work=work)
            return self._warned([self._read([row], max_new_tokens) * samples], 1)
        model = self.model  # loaded before the step's clock starts
        from personakit.models.batching import length_batches, prefix_batches
        from personakit.models.decoding import decode

        distinct_samples = samples if temperature > 0 else 1  # greedy samples are equal: decode one
        max_rows = max(1, self._batch_rows // distinct_samples)
        batches = prefix_batches(
            ids, [max_new_tokens * distinct_samples] * len(ids), budget=self._batch_tokens, max_rows=max_rows
        )
        if batches is None:
            costs = [(len(row) + max_new_tokens) * distinct_samples for row in ids]
            batches = length_batches(costs, budget=self._batch_tokens, max_rows=max_rows)
        answers: list[list[str]] = [[] for _ in prompts]
        with step("generating", len(prompts) * distinct_samples) as work:
            for batch in batches:
                rows = decode(
                    model,
                    [ids[index] for index in batch],
                    samples=distinct_samples,
                    max_new_tokens=max_new_tokens,
                    temperature=temperature,
                    uniforms=self._uniforms(
                        [prompts[index] for index in batch], distinct_samples, max_new_tokens, seed
                    )
                    if temperature > 0
                    else None,
                    end_ids=self._end_ids,
                    pad_id=self._pad_id,
                    work=work,
                )
                texts = self._read(rows, max_new_tokens)
                for position, index in enumerate(batch):
                    own_texts = texts[position * distinct_samples : (position + 1) * distinct_samples]
                    answers[index] = own_texts if distinct_samples == samples else own_texts * samples
        return self._warned(answers, distinct_samples)

    def score(
        self, prompts: Sequence[str], completions: Sequence[str], *, begun: Sequence[str] | None = None
    ) -> list[float]:
        """Return log p(completion, end | prompt) in nats, summed over the completion's tokens.

        As in DPO, the token that ends the answer is included: the probability of exactly this completion.
        `begun` are the texts with which the answers have begun, which are given like the prompts.
        """
        from personakit.models.scoring import score_rows

        if len(prompts) != len(completions):
            raise ValueError(f"{len(prompts)} prompts but {len(completions)} completions")
        if begun is None:
            answers = encode_answers(self.tokenizer, completions)
            starts: list[list[int]] = [[] for _ in completions]
        else:
            starts, answers = encode_continued(self.tokenizer, begun, completions)
        reserved = max((len(start) + len(row) for start, row in zip(starts, answers, strict=True)), default=0)
        ids = self._prompt_ids(prompts, reserved_tokens=reserved)
        ids = [prompt + start for prompt, start in zip(ids, starts, strict=True)]
        return score_rows(
            self.model,
            ids,
            answers,
            pad_id=self._pad_id,
            budget=self._batch_tokens,
            max_rows=self._batch_rows,
        )

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of `text`, without special tokens and chat template."""
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _warned(self, answers: list[list[str]], distinct_samples: int) -> list[list[str]]:
        """Return `answers`, after a warning if some are none."""
        failed = [
            text.reason for row in answers for text in row[:distinct_samples] if isinstance(text, NoAnswer)
        ]
        if failed:
            message = 'model "%s" gave no answer to %d of %d prompts (%s): not cached'
            _log.warning(message, self.name, len(failed), distinct_samples * len(answers), failed[0])
        return answers

    def _read(self, rows: Sequence[Sequence[int]], max_new_tokens: int) -> list[str]:
        """Return the answers, with their marks. An empty text without reasoning is an answer."""
        texts: list[str] = []
        for row, text in zip(rows, decode_answers(self.tokenizer, rows), strict=True):
            cut = len(row) == max_new_tokens  # the end token is not in the row
            if text is None or (not text and row and self.tokenizer.decode(row, skip_special_tokens=True)):
                reason = "it reasoned and gave no answer"
                texts.append(out_of_tokens(max_new_tokens) if cut else NoAnswer(reason))
            else:
                texts.append(Cut(text) if cut else text)
        return texts

    @cached_property
    def _end_ids(self) -> frozenset[int]:
        return frozenset(end_tokens(self._described, self.tokenizer))

    @cached_property
    def _pad_id(self) -> int:
        # Padding is masked, so any token will do if the tokenizer has none.
        return self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else 0

    def _prompt_ids(self, prompts: Sequence[str], *, reserved_tokens: int) -> list[list[int]]:
        ids = encode_prompts(self.tokenizer, prompts)
        if self.context_window is None:
            return ids
        limit = self.context_window - reserved_tokens
        if limit < 1:
            raise UserError(
                f"{reserved_tokens} new tokens leave no space for a prompt in the context window of "
                f'"{self.name}" ({self.context_window})',
                hint="generate fewer new tokens, or use a model with a longer context window",
            )
        for index, row in enumerate(ids):
            if len(row) > limit and not self.truncate:
                raise UserError(
                    f"prompt {index + 1} of {len(ids)} has {len(row)} tokens, expected at most {limit}: "
                    f'the context window of "{self.name}" is {self.context_window}, of which '
                    f"{reserved_tokens} are for the answer",
                    hint="use fewer or shorter profile items, or a model with a longer context window",
                )
        return [cut_middle(row, limit) for row in ids]

    def _uniforms(self, prompts: Sequence[str], samples: int, length: int, seed: int) -> Any:
        import numpy
        import torch

        streams = [
            numpy.random.default_rng(
                int.from_bytes(hashlib.sha256(f"{seed}\0{sample}\0{prompt}".encode()).digest()[:16], "big")
            ).random(length)
            for prompt in prompts
            for sample in range(samples)
        ]
        return torch.from_numpy(numpy.stack(streams))


def _check_decoding(*, samples: int, max_new_tokens: int, temperature: float) -> None:
    for option, value, lowest in (
        ("samples", samples, 1),
        ("max_new_tokens", max_new_tokens, 1),
        ("temperature", temperature, 0),
    ):
        if value < lowest:
            raise UserError(
                f"{option} is {value}, expected at least {lowest}", hint=f"set {option} to {lowest} or more"
            )
