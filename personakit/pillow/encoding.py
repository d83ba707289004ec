"""What the matching network sees of a text: vectors by an encoder's name, kept on disk by content.

The encoder is the LoRA-tuned model's own, whose hidden states are averaged over a text's tokens, layer by
layer (`model`, or `model:LAYERS`), or any sentence encoder by name (`retrieval.encoders`). Our choice: the
paper names none.
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


class KnownEncoder(Protocol):
    """An encoder that says in one string what decides its vectors."""

    @property
    def fingerprint(self) -> str:
        """Digest or name of all that decides the vectors."""
        ...

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a text, shape [texts, width]."""
        ...


def question(instruction: Instruction) -> str:
    """Return the text that stands for an instruction, and for a prompt: what is asked, not the answer."""
    return f"{instruction.instruction}\n{instruction.input}" if instruction.input else instruction.instruction


def layers_of(name: str) -> tuple[int, ...] | None:
    """Return the layers of `model:LAYERS`, the last for `model`; None for the name of a sentence encoder.

    0 is the embeddings. Raises `UserError` where they are no numbers.
    """
    own, _, layers = name.partition(":")
    if own != _OWN:
        return None
    try:
        return tuple(int(layer) for layer in layers.split(",")) if layers else (-1,)
    except ValueError as error:
        raise UserError(
            f'matcher.encoder is "{name}", expected layers by number after "{_OWN}:"',
            hint=f"{_OWN}:0,2 takes the embeddings and the second layer",
        ) from error


def open_text_encoder(name: str, model: LocalModel) -> KnownEncoder:
    """Open the encoder called `name`: `model`'s own states, or a sentence encoder."""
    layers = layers_of(name)
    return OwnStates(model, layers) if layers is not None else _Named(name)


class OwnStates:
    """A causal model's hidden states, averaged over a text's tokens; several layers stand side by side.

    Each layer's mean is scaled to unit length, so that none drowns the others.
    """

    def __init__(self, model: LocalModel, layers: Sequence[int]) -> None:
        """Take a loaded model. Raises `UserError` for a layer it has not."""
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
        """The model's, and the layers."""
        return f"{self._model.fingerprint} {','.join(map(str, self._layers))}"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return the means, shape [texts, layers x width]."""
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

        # Padded on the right, a causal model's states of the text are as without it.
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


class _Named:
    """A sentence encoder under its name."""

    def __init__(self, name: str) -> None:
        self._encoder = open_encoder(name)
        self.fingerprint = f"{name} {_digest_of(name)}"

    def encode(self, texts: Sequence[str]) -> Vectors:
        return self._encoder.encode(texts)


def kept_vectors(encoder: KnownEncoder, texts: Sequence[str]) -> Vectors:
    """Return one vector a text, shape [texts, width], from the cache folder where they are there already.

    They are filed under the encoder and the texts in their order, in one file, which holds no text.
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
    """The digest of an encoder's folder; of a hub name nothing more is known than the name."""
    return fingerprint_folder(Path(name)) if Path(name).is_dir() else ""
