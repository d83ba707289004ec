"""`LocalModel`: weights on this machine behind the `LanguageModel` contract (transformers, PEFT)."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from personakit.errors import UserError
from personakit.models.environment import hide_loading_bars, keep_quiet, quiet_peft
from personakit.models.fingerprint import fingerprint_of
from personakit.models.model_files import locate, nowhere
from personakit.models.tokens import cut_middle, encode_answers, encode_prompts

#: Padded tokens held in one KV cache. On a CPU larger batches no longer help, as for rows in one batch.
BATCH_TOKENS = {"cpu": 32_768, "cuda": 65_536}
_BATCH_ROWS = {"cpu": 128, "cuda": 256}


class LocalModel:
    """A causal language model of transformers, with or without a PEFT adapter.

    A prompt is a plain string. If the tokenizer has a chat template the prompt is sent as one user
    message; else as it is (`personakit.models.tokens`). Answers end at the model's end-of-sequence
    tokens.

    Greedy answers do not depend on the batch they were decoded in but for rounding: padding changes
    the order of float additions, so where two tokens score within about 1e-5 of each other the choice
    may differ. Sampled answers draw from a stream of their own (prompt, seed, sample number), with
    the same proviso.
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
        """Take a loaded model; `load` is the usual way in.

        `truncate` cuts the middle out of prompts that do not fit the context window, instead of
        raising. `batch_tokens` and `batch_rows` bound one batch (defaults by device). `fingerprint`,
        or the `folders` it is computed from, is what the answer cache knows the model by.
        """
        self.name = name
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.truncate = truncate
        device = "cuda" if model.device.type == "cuda" else "cpu"
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
        """Load a folder or a hub name; bfloat16 on CUDA, float32 on a CPU.

        A folder that holds a PEFT adapter loads its base model with it. Raises `UserError` where the
        name is neither a folder with a model in it nor available from the hub.
        """
        model, tokenizer, folders, revision = load_pretrained(name, adapter=adapter, device=device)
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

    @cached_property
    def fingerprint(self) -> str:
        """Digest of everything that decides the answers: weights, adapter, tokenizer, configuration."""
        if not self._fingerprint and not self._folders:
            raise UserError(
                f'model "{self.name}" has no fingerprint: it was handed over in memory',
                hint="pass fingerprint=... when its answers are to be cached",
            )
        return fingerprint_of(self._fingerprint, self._folders)

    @cached_property
    def context_window(self) -> int | None:
        """The largest number of positions the model has, or None where it does not say."""
        positions = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return int(positions) if positions else None

    def generate(
        self,
        prompts: Sequence[str],
        *,
        samples: int = 1,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[str]]:
        """Return `samples` completions per prompt, in input order; temperature 0 is greedy.

        Raises `UserError` naming the prompt and its number of tokens where it does not fit the
        context window beside `max_new_tokens` (unless `truncate`).
        """
        from personakit.models.batching import length_batches, prefix_batches
        from personakit.models.decoding import decode

        _check_decoding(samples=samples, max_new_tokens=max_new_tokens, temperature=temperature)
        ids = self._prompt_ids(prompts, room=max_new_tokens)
        drawn = samples if temperature > 0 else 1  # greedy samples are all the same: decode one
        max_rows = max(1, self._batch_rows // drawn)
        batches = prefix_batches(
            ids, [max_new_tokens * drawn] * len(ids), budget=self._batch_tokens, max_rows=max_rows
        )
        if batches is None:
            costs = [(len(row) + max_new_tokens) * drawn for row in ids]
            batches = length_batches(costs, budget=self._batch_tokens, max_rows=max_rows)
        answers: list[list[str]] = [[] for _ in prompts]
        for batch in batches:
            rows = decode(
                self.model,
                [ids[index] for index in batch],
                samples=drawn,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                uniforms=self._uniforms([prompts[index] for index in batch], drawn, max_new_tokens, seed)
                if temperature > 0
                else None,
                end_ids=self._end_ids,
                pad_id=self._pad_id,
            )
            texts = self.tokenizer.batch_decode(
                rows, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
            for place, index in enumerate(batch):
                own = texts[place * drawn : (place + 1) * drawn]
                answers[index] = own if drawn == samples else own * samples
        return answers

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Return log p(completion, end | prompt) in nats, summed over the completion's tokens.

        The end-of-sequence token counts, as in DPO: it is the probability of saying exactly this.
        """
        from personakit.models.scoring import score_rows

        if len(prompts) != len(completions):
            raise ValueError(f"{len(prompts)} prompts but {len(completions)} completions")
        answers = encode_answers(self.tokenizer, completions)
        ids = self._prompt_ids(prompts, room=max((len(row) for row in answers), default=0))
        return score_rows(
            self.model,
            ids,
            answers,
            pad_id=self._pad_id,
            budget=self._batch_tokens,
            max_rows=self._batch_rows,
        )

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of `text`, without special tokens or chat template."""
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    @cached_property
    def _end_ids(self) -> frozenset[int]:
        declared = getattr(self.model.generation_config, "eos_token_id", None)
        ends = declared if isinstance(declared, list) else [declared]
        return frozenset(end for end in [*ends, self.tokenizer.eos_token_id] if end is not None)

    @cached_property
    def _pad_id(self) -> int:
        # Padding is masked, so any token will do where the tokenizer names none.
        return self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else 0

    def _prompt_ids(self, prompts: Sequence[str], *, room: int) -> list[list[int]]:
        ids = encode_prompts(self.tokenizer, prompts)
        if self.context_window is None:
            return ids
        limit = self.context_window - room
        if limit < 1:
            raise UserError(
                f'{room} new tokens leave no room for a prompt in the {self.context_window} of "{self.name}"',
                hint="ask for fewer new tokens, or use a model with a longer context window",
            )
        for index, row in enumerate(ids):
            if len(row) > limit and not self.truncate:
                raise UserError(
                    f"prompt {index + 1} of {len(ids)} has {len(row)} tokens, expected at most {limit}: "
                    f'the window of "{self.name}" is {self.context_window}, {room} of it for the answer',
                    hint="give the model fewer or shorter history items, or a longer context window",
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


def load_pretrained(
    name: str,
    *,
    adapter: Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    quantization: Any = None,
) -> tuple[Any, Any, list[Path], str | None]:
    """Load (model, tokenizer, the folders it came from, "name@commit" if from the hub).

    `dtype` "auto" is bfloat16 on CUDA and float32 elsewhere. `quantization` is transformers' configuration
    of weights in fewer bits, which are made on `device`. Raises `UserError` as `LocalModel.load`.
    """
    keep_quiet()
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    hide_loading_bars()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    wanted = {"float32": torch.float32, "bfloat16": torch.bfloat16}.get(dtype) or (
        torch.bfloat16 if device.startswith("cuda") else torch.float32
    )
    place = locate(name, adapter)
    name, adapter, folders = place.source, place.adapter, list(place.folders)
    is_folder = Path(name).is_dir()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            name,
            dtype=wanted,
            local_files_only=place.offline,
            **({"quantization_config": quantization, "device_map": {"": device}} if quantization else {}),
        )
        tokenizer = AutoTokenizer.from_pretrained(
            adapter if adapter is not None and (adapter / "tokenizer_config.json").is_file() else name,
            local_files_only=place.offline,
        )
    except (OSError, ValueError, SafetensorError) as error:
        if is_folder:
            raise UserError(
                f'model folder "{name}" cannot be loaded: {_first_line(error)}',
                hint="check that it is whole: config.json, *.safetensors and the tokenizer's files",
            ) from error
        raise nowhere(name) from error
    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        raise UserError(
            f'model "{name}" ({type(model).__name__}) is not a plain causal language model of transformers',
            hint="use a decoder-only model such as Llama, Qwen, Mistral or Gemma",
        )
    revision = None if is_folder else f"{name}@{getattr(model.config, '_commit_hash', None)}"
    if adapter is not None:
        model = _with_adapter(model, adapter)
    return model.to(device), tokenizer, folders, revision


def _with_adapter(model: Any, adapter: Path) -> Any:
    from peft import PeftModel

    if not (adapter / "adapter_config.json").is_file():
        raise UserError(
            f'adapter folder "{adapter}" has no adapter_config.json',
            hint="name the folder that PEFT's save_pretrained wrote",
        )
    try:
        with quiet_peft():
            return PeftModel.from_pretrained(model, str(adapter))
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(
            f'adapter "{adapter}" does not fit its base model: {_first_line(error)}',
            hint="load it with the base model it was trained on",
        ) from error


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


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:200]
