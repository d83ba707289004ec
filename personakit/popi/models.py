"""One base model in memory with several adapters, each exposed as a `LocalModel`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from personakit.models.adapters import load_adapter
from personakit.models.environment import suppress_peft_warnings
from personakit.models.local import LocalModel
from personakit.models.open import resolve_model
from personakit.models.pretrained import load_pretrained
from personakit.popi.adapters import BASE, active_adapter


class AdaptedModel(LocalModel):
    """The base model with one of its adapters, or without any.

    Models on the same base can be used alternately: each call activates its own adapter.
    """

    def __init__(self, network: Any, tokenizer: Any, adapter: str | None, **how: Any) -> None:
        super().__init__(network, tokenizer, **how)
        self._adapter = adapter

    def with_adapter(self, adapter: str) -> AdaptedModel:
        """Return the same base model with another of its adapters. Its answers must not be cached."""
        return AdaptedModel(
            self.model, self.tokenizer, adapter, name=f"{self.name}, {adapter}", truncate=self.truncate
        )

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
        with self._activated():
            return super().generate(
                prompts, samples=samples, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed
            )

    def score(
        self, prompts: Sequence[str], completions: Sequence[str], *, begun: Sequence[str] | None = None
    ) -> list[float]:
        """Score as `LocalModel`."""
        with self._activated():
            return super().score(prompts, completions, begun=begun)

    @contextlib.contextmanager
    def _activated(self) -> Iterator[None]:
        with active_adapter(self.model, self._adapter or BASE, trained=()), suppress_peft_warnings():
            yield


class CachedReference:
    """A reference model with cached scores: several rows score the same answers.

    Scores are kept for the lifetime of the process, keyed by the model's fingerprint: two floats per pair.
    """

    _known: ClassVar[dict[tuple[str, str, str], float]] = {}

    def __init__(self, model: AdaptedModel) -> None:
        self.model = model
        self.fingerprint = model.fingerprint
        self.generate = model.generate
        self.count_tokens = model.count_tokens

    def score(
        self, prompts: Sequence[str], completions: Sequence[str], *, begun: Sequence[str] | None = None
    ) -> list[float]:
        """Return the model's scores; they are not cached for answers that have `begun`."""
        if begun is not None:
            return self.model.score(prompts, completions, begun=begun)
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
    """Load `base` once with the adapters in these folders; return the models by name, and `BASE`.

    Prompts longer than the base's context window are truncated in the middle. Raises `UserError` as
    `LocalModel.load` does.
    """
    network, tokenizer, folders, revision = load_pretrained(resolve_model(base))
    model = network
    for name, folder in adapters.items():
        model = load_adapter(model, folder, name=name)
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
