from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from models.tiny import make_tiny, sentences

from personakit.config.training import LoraSettings, no_lora
from personakit.training import reference
from personakit.training.precision import Precision
from personakit.training.reference import TokenRow, reference_logps
from personakit.training.weights import load_trainable
from training.adapters import make_adapter

CPU = Precision("cpu", "float32", "a test")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONAKIT_CACHE", str(tmp_path / "cache"))


def pairs_of(tokenizer: Any, count: int = 20) -> list[tuple[list[int], list[int], list[int]]]:
    texts = [sentences(count, seed=seed, longest=9) for seed in (0, 1, 2)]
    rows = [[[*ids, 1] for ids in tokenizer(each)["input_ids"]] for each in texts]
    return list(zip(*rows, strict=True))


def rows_of(pairs: list[tuple[list[int], list[int], list[int]]]) -> list[TokenRow]:
    return [TokenRow(prompt, answer) for prompt, *answers in pairs for answer in answers]


@pytest.mark.parametrize("kind", ["full", "new adapter", "adapter gone on with"])
def test_log_probabilities_equal_trls(tiny_folder: Path, tmp_path: Path, kind: str) -> None:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    model = make_adapter(tiny_folder, tmp_path / "adapter") if "gone on" in kind else tiny_folder
    start = load_trainable(str(model), LoraSettings(r=0 if kind == "full" else 4), CPU)
    pairs = pairs_of(start.tokenizer)
    ours = torch.tensor(
        reference_logps(start.network, rows_of(pairs), fingerprint=start.fingerprint, precision=CPU, pad_id=0)
    )
    trainer = DPOTrainer(
        start.network,
        args=DPOConfig(str(tmp_path / "trl"), use_cpu=True, bf16=False, report_to=[]),
        train_dataset=Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}]),
        processing_class=start.tokenizer,
        peft_config=start.adapter,
    )
    columns = ("prompt_ids", "chosen_ids", "rejected_ids")
    batch = trainer.data_collator([dict(zip(columns, pair, strict=True)) for pair in pairs])
    network = trainer.ref_model if kind == "full" else trainer.model
    chosen, rejected = trainer.compute_ref_log_probs(network, batch)
    torch.testing.assert_close(ours[0::2], chosen, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours[1::2], rejected, rtol=1e-5, atol=1e-5)


def test_cached_log_probabilities_are_reused(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    inner = reference._computed

    def counted(network: Any, rows: list[TokenRow], *rest: Any) -> list[float]:
        computed.append(len(rows))
        return inner(network, rows, *rest)

    monkeypatch.setattr(reference, "_computed", counted)
    monkeypatch.setattr(reference, "_SHARD_ROWS", 16)

    def logps(model: Path, pairs: list[Any] | None = None, rank: int = 4) -> list[float]:
        start = load_trainable(str(model), LoraSettings(r=rank), CPU)
        rows = rows_of(pairs or pairs_of(start.tokenizer))
        return reference_logps(start.network, rows, fingerprint=start.fingerprint, precision=CPU, pad_id=0)

    first = logps(tiny_folder)
    assert computed == [16, 16, 8]
    assert logps(tiny_folder, rank=0) == first
    assert computed == [16, 16, 8]
    others = [
        logps(make_tiny(tmp_path / "other", seed=1)),
        logps(make_adapter(tiny_folder, tmp_path / "adapter")),
        logps(make_adapter(tiny_folder, tmp_path / "merged"), rank=0),
    ]
    # Other weights or another adapter give another reference; a merged adapter gives the same one.
    assert sum(computed) == 3 * 40
    assert all(abs(a - b) > 1e-3 for other in others for a, b in zip(first, other, strict=True))
    assert others[1] == others[2]


def test_interrupted_pass_loses_at_most_one_shard(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_SHARD_ROWS", 16)
    start = load_trainable(str(tiny_folder), no_lora(), CPU)
    rows = rows_of(pairs_of(start.tokenizer))
    inner, done = reference._computed, []

    def dies(network: Any, rows: list[TokenRow], *rest: Any) -> list[float]:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(rows)
        return inner(network, rows, *rest)

    arguments: dict[str, Any] = {"fingerprint": start.fingerprint, "precision": CPU, "pad_id": 0}
    monkeypatch.setattr(reference, "_computed", dies)
    with pytest.raises(KeyboardInterrupt):
        reference_logps(start.network, rows, **arguments)
    done.clear()
    heard: list[tuple[int, int]] = []
    values = reference_logps(
        start.network, rows, **arguments, on_progress=lambda made, total: heard.append((made, total))
    )
    assert [len(shard) for shard in done] == [8]
    assert len(values) == 40
    assert heard[-1] == (40, 40)
