"""Sentence encoders: embeddings whose dot product is a similarity.

A plain transformers model is used as LaMP uses contriever (contriever_retriever.py): the mean of the last
hidden states over non-padding tokens, not normalised. A model with a sentence-transformers configuration
(`modules.json`: pooling, normalisation, prompts) is run by that library.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from personakit.errors import UserError
from personakit.steps import step

Vectors = NDArray[np.float32]


class Encoder(Protocol):
    """Computes text embeddings."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return the embeddings, shape [texts, dimensions]."""
        ...


def open_encoder(name: str, *, device: str | None = None, batch_size: int = 32) -> Encoder:
    """Return the encoder `name`, a hub name or a folder.

    `device` is a torch device; None takes the GPU if there is one. Raises `UserError` if the model cannot be
    loaded.
    """
    if device is None:
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    if _is_sentence_transformers(name):
        return SentenceTransformersEncoder(name, device=device, batch_size=batch_size)
    return MeanPoolingEncoder(name, device=device, batch_size=batch_size)


class MeanPoolingEncoder:
    """Any transformers encoder with mean pooling."""

    def __init__(self, name: str, *, device: str, batch_size: int) -> None:
        from transformers import AutoModel, AutoTokenizer

        try:
            self._tokenizer = AutoTokenizer.from_pretrained(name)
            self._model = AutoModel.from_pretrained(name).to(device).eval()
        except Exception as error:
            raise _load_error(name, error) from error
        # Some tokenizers report no limit (a huge number) although the model has one.
        window = getattr(self._model.config, "max_position_embeddings", None)
        self._max_length = min(self._tokenizer.model_max_length, window or self._tokenizer.model_max_length)
        self._device = device
        self._batch_size = batch_size

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return the mean of each text's token embeddings, shape [texts, dimensions]."""
        if not texts:
            return np.zeros((0, 0), dtype=np.float32)
        # Sort by length to reduce padding.
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        rows: dict[int, Vectors] = {}
        with step("embedding texts", len(texts)) as work:
            for start in range(0, len(order), self._batch_size):
                places = order[start : start + self._batch_size]
                rows.update(zip(places, self._encode_batch([texts[place] for place in places]), strict=True))
                work.advance(len(places))
        return np.stack([rows[place] for place in range(len(texts))])

    def _encode_batch(self, texts: list[str]) -> Vectors:
        import torch

        inputs = self._tokenizer(
            texts, padding=True, truncation=True, max_length=self._max_length, return_tensors="pt"
        ).to(self._device)
        with torch.inference_mode():
            hidden = self._model(**inputs).last_hidden_state.float()
        mask = inputs["attention_mask"].unsqueeze(-1)
        # A text without tokens gets a zero vector.
        means = hidden.masked_fill(mask == 0, 0.0).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        vectors: Vectors = means.cpu().numpy()
        return vectors


class SentenceTransformersEncoder:
    """A model with a sentence-transformers configuration, run by that library."""

    def __init__(self, name: str, *, device: str, batch_size: int) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ModuleNotFoundError as error:
            raise UserError(
                f'the encoder "{name}" is a sentence-transformers model, and that library is not installed',
                hint='install it with pip install "personakit[dense]"',
            ) from error
        try:
            self._model: Any = SentenceTransformer(name, device=device)
        except (OSError, ValueError) as error:
            raise _load_error(name, error) from error
        self._batch_size = batch_size

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return the embeddings, shape [texts, dimensions]."""
        with step(f"embedding {len(texts)} texts"):
            vectors = self._model.encode(list(texts), batch_size=self._batch_size, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)


def _is_sentence_transformers(name: str) -> bool:
    if Path(name).is_dir():
        return (Path(name) / "modules.json").is_file()
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, RepositoryNotFoundError

    try:
        hf_hub_download(name, "modules.json")
    except (EntryNotFoundError, HFValidationError, RepositoryNotFoundError):
        # No such file or model. Loading the model reports the latter.
        return False
    return True


def _load_error(name: str, error: Exception) -> UserError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UserError(
        f'the encoder "{name}" cannot be loaded: {reason}',
        hint="give the folder of a transformers encoder, or a hub name that is cached or can be downloaded; "
        "bm25 needs no model",
    )
