"""Text encoders of the matching network, with vectors cached on disk by content.

The encoder is the LoRA-tuned model, whose hidden states are averaged over a text's tokens in each layer
(`model`, or `model:LAYERS`), or any sentence encoder (`retrieval.encoders`). This is our choice: the paper
names no encoder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from personakit.errors import UserError
from personakit.files import atomic_file, cache_folder
from personakit.models.fingerprint import fingerprint_folder
from personakit.models.local import LocalModel
from personakit.models.tokens import cut_middle
from personakit.records import Instruction
from personakit.retrieval.encoders import Vectors, open_encoder

_OWN = "model"
_BATCH = 64


class FingerprintedEncoder(Protocol):
    """An encoder with a fingerprint."""

    @property
    def fingerprint(self) -> str:
        """Digest or name of everything that determines the vectors."""
        ...

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per text, shape [texts, width]."""
        ...


def instruction_text(instruction: Instruction) -> str:
    """Return the text that represents an instruction or a prompt: instruction and input, without answer."""
    return f"{instruction.instruction}\n{instruction.input}" if instruction.input else instruction.instruction


def parse_layers(name: str) -> tuple[int, ...] | None:
    """Parse the layers of `model:LAYERS`, the last one for `model`; None for a sentence encoder's name.

    Layer 0 is the embeddings. Raises `UserError` for layers that are not integers.
    """
    own, _, layers = name.partition(":")
    if own != _OWN:
        return None
    try:
        return tuple(int(layer) for layer in layers.split(",")) if layers else (-1,)
    except ValueError as error:
        raise UserError(
            f'matcher.encoder is "{name}", expected layer numbers after "{_OWN}:"',
            hint=f"{_OWN}:0,2 uses the embeddings and the second layer",
        ) from error


def open_text_encoder(name: str, model: LocalModel) -> FingerprintedEncoder:
    """Open the encoder `name`: the hidden states of `model`, or a sentence encoder."""
    layers = parse_layers(name)
    return HiddenStateEncoder(model, layers) if layers is not None else _SentenceEncoder(name)


class HiddenStateEncoder:
    """A causal model's hidden states, averaged over a text's tokens, with several layers concatenated.

    Each layer's mean is scaled to unit length, so that no layer dominates.
    """

    def __init__(self, model: LocalModel, layers: Sequence[int]) -> None:
        """`layers` are indices, 0 for the embeddings. Raises `UserError` for a layer out of range."""
        self._model, self._layers = model, tuple(layers)
        count = model.model.config.get_text_config().num_hidden_layers
        for layer in layers:
            if not -count - 1 <= layer <= count:
                raise UserError(
                    f'matcher.encoder names layer {layer}, "{model.name}" has {count}',
                    hint=f"0 (the embeddings) to {count}, or -1 for the last",
                )

    @property
    def fingerprint(self) -> str:
        """The model's fingerprint and the layers."""
        return f"{self._model.fingerprint} {','.join(map(str, self._layers))}"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per text, shape [texts, layers x width]."""
        rows = [self._ids(text) for text in texts]
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        found: dict[int, Vectors] = {}
        for start in range(0, len(order), _BATCH):
            places = order[start : start + _BATCH]
            found.update(zip(places, self._means([rows[place] for place in places]), strict=True))
        return np.stack([found[place] for place in range(len(rows))])

    def _ids(self, text: str) -> list[int]:
        ids = self._model.tokenizer(text, add_special_tokens=False)["input_ids"]
        window = self._model.context_window
        return cut_middle(ids, window) if window else list(ids)

    def _means(self, rows: Sequence[list[int]]) -> Vectors:
        import torch

        # Right padding does not change a causal model's states of the text.
        width = max(1, *(len(row) for row in rows))
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        mask = torch.zeros(len(rows), width)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = torch.tensor(row, dtype=torch.long)
            mask[place, : len(row)] = 1.0
        network = self._model.model
        with torch.inference_mode():
            states = network(
                input_ids=ids.to(network.device),
                attention_mask=mask.long().to(network.device),
                output_hidden_states=True,
                use_cache=False,
                logits_to_keep=1,
            ).hidden_states
        shares = (mask / mask.sum(1, keepdim=True).clamp(min=1))[:, None]
        means = [(shares @ states[layer].float().cpu()).squeeze(1) for layer in self._layers]
        joined = torch.cat([torch.nn.functional.normalize(each, dim=-1) for each in means], dim=-1)
        vectors: Vectors = joined.numpy()
        return vectors


class _SentenceEncoder:
    """A sentence encoder with a fingerprint."""

    def __init__(self, name: str) -> None:
        self._encoder = open_encoder(name)
        self.fingerprint = f"{name} {_digest_of(name)}"

    def encode(self, texts: Sequence[str]) -> Vectors:
        return self._encoder.encode(texts)


def cached_vectors(encoder: FingerprintedEncoder, texts: Sequence[str]) -> Vectors:
    """Return one vector per text, shape [texts, width], from the cache folder if possible.

    The vectors are in one file, keyed by the encoder and the sequence of texts; it contains no texts.
    """
    digest = hashlib.sha256(f"{encoder.fingerprint}\0".encode())
    for text in texts:
        digest.update(f"{len(text)}\0{text}\0".encode())
    path = cache_folder() / "vectors" / f"{digest.hexdigest()}.npy"
    if path.is_file():
        kept: Vectors = np.load(path, allow_pickle=False)
        return kept
    vectors = encoder.encode(texts)
    with atomic_file(path) as temporary, temporary.open("wb") as handle:
        np.save(handle, vectors)
    return vectors


def _digest_of(name: str) -> str:
    """Return the digest of an encoder's folder; "" for a hub name, which has no local folder."""
    return fingerprint_folder(Path(name)) if Path(name).is_dir() else ""
