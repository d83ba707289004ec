"""One base in memory with any number of adapters on it, each of them a `LocalModel` of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from personakit.models.environment import suppress_peft_warnings
from personakit.models.local import LocalModel, load_pretrained
from personakit.models.open import resolve_model
from personakit.popi.adapters import START, active

BASE = "base"
"""The base without an adapter."""


class AdaptedModel(LocalModel):
    """The base with one of its adapters turned on while it works, or with none.

    The others of the same base may work in turn: each turns its own adapter on.
    """

    def __init__(self, network: Any, tokenizer: Any, adapter: str | None, **how: Any) -> None:
        super().__init__(network, tokenizer, **how)
        self._adapter = adapter

    def generate(
        self,
        prompts: Sequence[str],
        *,
        samples: int = 1,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[str]]:
        """Generate as `LocalModel`."""
        with self._on():
            return super().generate(
                prompts, samples=samples, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed
            )

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Score as `LocalModel`."""
        with self._on():
            return super().score(prompts, completions)

    @contextlib.contextmanager
    def _on(self) -> Iterator[None]:
        with active(self.model, self._adapter or START, trained=()), suppress_peft_warnings():
            yield


class RememberedScores:
    """A reference, whose scores of the same answers are asked for by row after row.

    What it has scored is kept for as long as the process runs, by the model's fingerprint: two floats a pair.
    """

    _known: ClassVar[dict[tuple[str, str, str], float]] = {}

    def __init__(self, model: AdaptedModel) -> None:
        self.model = model
        self.fingerprint = model.fingerprint
        self.generate = model.generate
        self.count_tokens = model.count_tokens

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Return the model's scores."""
        keys = [
            (self.fingerprint, prompt, completion)
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        missing = list(dict.fromkeys(key for key in keys if key not in self._known))
        if missing:
            scores = self.model.score([key[1] for key in missing], [key[2] for key in missing])
            self._known.update(zip(missing, scores, strict=True))
        return [self._known[key] for key in keys]


def open_adapters(base: str, adapters: Mapping[str, Path]) -> dict[str, AdaptedModel]:
    """Load `base` once with the adapters in these folders on it; return a model by name, and `BASE`.

    Prompts that do not fit the base's window are cut in the middle. Raises `UserError` as `LocalModel.load`.
    """
    from peft import PeftModel

    network, tokenizer, folders, revision = load_pretrained(resolve_model(base))
    with suppress_peft_warnings():
        model = network
        for name, folder in adapters.items():
            if model is network:
                model = PeftModel.from_pretrained(network, str(folder), adapter_name=name)
            else:
                model.load_adapter(str(folder), adapter_name=name)
    found = {
        name: AdaptedModel(
            model,
            tokenizer,
            name,
            name=str(folder),
            fingerprint=revision,
            folders=[*folders, folder],
            truncate=True,
        )
        for name, folder in adapters.items()
    }
    alone = AdaptedModel(
        model, tokenizer, None, name=base, fingerprint=revision, folders=folders, truncate=True
    )
    return {**found, BASE: alone}
