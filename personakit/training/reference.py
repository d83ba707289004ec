"""Log-probabilities under a fixed reference model, computed once and cached on disk.

The cache key is a digest of the reference's weights and the tokens, so a later run with the same reference
and pairs reads them. No second model is in memory during training.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from personakit.files import cache_folder, write_json
from personakit.training.precision import Precision
from personakit.training.processes import map_over_processes, process_count

#: Rows per cache file; an interrupted pass loses at most one file.
_SHARD_ROWS = 1024
# Maximum padded tokens and rows of a batch, as for scoring in `models.local`.
_BATCH_TOKENS = 32_768
_BATCH_ROWS = 64


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A tokenized prompt and answer."""

    prompt: list[int]
    answer: list[int]


def reference_logps(
    network: Any,
    rows: Sequence[TokenRow],
    *,
    fingerprint: str,
    precision: Precision,
    pad_id: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[float]:
    """Return log p(answer | prompt) of each row under `network` in nats, summed over the answer's tokens.

    `network` is the model before training, identified by its `fingerprint`; it is moved to the device only if
    a row is not cached. Each process computes its share of the rows.
    """
    shards = [rows[start : start + _SHARD_ROWS] for start in range(0, len(rows), _SHARD_ROWS)]
    done = 0

    def compute(share: Sequence[Sequence[TokenRow]]) -> list[list[float]]:
        nonlocal done
        found = []
        for shard in share:
            found.append(_shard(network, shard, fingerprint, precision, pad_id))
            done += len(shard)
            on_progress(done, len(rows))
        return found

    values = [value for shard in map_over_processes(shards, compute) for value in shard]
    if process_count() > 1 and not getattr(network, "is_quantized", False):
        network.to("cpu")  # the trainer shards and places it
    return values


def _shard(
    network: Any, rows: Sequence[TokenRow], fingerprint: str, precision: Precision, pad_id: int
) -> list[float]:
    key = hashlib.sha256(f"{fingerprint}\0{network.dtype}\0{precision.dtype}\0".encode())
    for row in rows:
        key.update(f"{row.prompt}{row.answer}".encode())
    kept = cache_folder() / "reference" / f"{key.hexdigest()}.json"
    if kept.is_file():
        values: list[float] = json.loads(kept.read_text(encoding="utf-8"))
        return values
    values = _computed(network, rows, precision, pad_id)
    write_json(kept, values)
    return values


def _computed(network: Any, rows: Sequence[TokenRow], precision: Precision, pad_id: int) -> list[float]:
    import torch

    from personakit.models.scoring import score_rows
    from personakit.models.shared_prefix import unshare_prefixes

    cuda = precision.device == "cuda"
    network.to(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if cuda else "cpu")
    training = network.training
    network.eval()  # without dropout
    with torch.autocast(precision.device, torch.bfloat16, enabled=precision.bf16):
        values = score_rows(
            network,
            [row.prompt for row in rows],
            [row.answer for row in rows],
            pad_id=pad_id,
            budget=_BATCH_TOKENS,
            max_rows=_BATCH_ROWS,
        )
    unshare_prefixes(network)  # restore: the stage decides whether to share prefixes
    network.train(training)
    return values
