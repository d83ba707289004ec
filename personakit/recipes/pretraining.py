"""One small Llama from nothing: tokenizer, loop, and the copying lesson. Shared by the recipes.

Copying: random words, said twice, with the loss on the second time. A model of this size that is not
taught so does not learn to copy words it has not seen copied before (induction heads, arXiv
2209.11895); with it, it does within a few hundred steps.

Simplified away: validation, resuming, more than one device. A recipe is minutes long and run by hand.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personakit.files import atomic_folder

PAD, END = "<pad>", "<eos>"


@dataclass(frozen=True)
class ModelShape:
    """A Llama's size. The defaults are nano's: about a million parameters."""

    width: int = 128
    layers: int = 4
    heads: int = 4
    vocabulary: int = 1536
    positions: int = 1024


@dataclass(frozen=True)
class Schooling:
    """How long and how fast. All ours; the learning rate and the copying lesson are from trials."""

    steps: int
    batch_size: int = 24
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    weight_decay: float = 0.05
    copying_steps: int = 200
    """Every step up to this one also has a batch of copying; later every fourth."""
    seed: int = 0


def train_tokenizer(corpus: Iterable[str], shape: ModelShape, pieces: Sequence[str] = ()) -> Any:
    """Return a byte-level BPE tokenizer; each of `pieces` (fixed wording) becomes one token."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=shape.vocabulary - len(pieces),
        special_tokens=[PAD, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens([AddedToken(piece, normalized=False, special=False) for piece in pieces])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        clean_up_tokenization_spaces=False,
        model_max_length=shape.positions,
    )


def new_model(tokenizer: Any, shape: ModelShape, seed: int) -> Any:
    """Return a Llama with random weights for `tokenizer`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=8 * (shape.width // 3),
            vocab_size=len(tokenizer),
            tie_word_embeddings=True,
            max_position_embeddings=shape.positions,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def school(model: Any, tokenizer: Any, samples: Sequence[tuple[str, str]], plan: Schooling) -> None:
    """Train `model` on (prompt, answer) pairs, the loss on the answers, one pass or as many as it takes."""
    import torch

    from personakit.training.precision import decide_precision
    from personakit.training.progress import Staged, choose_progress

    precision = decide_precision("auto", "auto")
    print(f"{precision.device}, {precision.dtype}: {precision.reason}", flush=True)
    model.to(precision.device).train()
    generator = random.Random(plan.seed)
    rows = _encode(tokenizer, samples)
    batches = _batches([len(prompt) + len(answer) for prompt, answer in rows], plan, generator)
    words = torch.tensor(_words(tokenizer), device=precision.device)
    optimizer = torch.optim.AdamW(
        model.parameters(), plan.learning_rate, betas=(0.9, 0.95), weight_decay=plan.weight_decay
    )
    began, tokens = time.monotonic(), 0
    with Staged(choose_progress(), "schooling", plan.steps) as reporter:
        for step, batch in enumerate(batches, 1):
            for group in optimizer.param_groups:
                group["lr"] = plan.learning_rate * _rate(step, plan)
            lessons = [_padded([rows[index] for index in batch], tokenizer.pad_token_id, precision.device)]
            if step <= plan.copying_steps or step % 4 == 0:
                lessons.append(_copying(words, 32, generator.randint(10, 40), generator.getrandbits(32)))
            losses = []
            for ids, labels in lessons:
                with torch.autocast(precision.device, torch.bfloat16, enabled=precision.bf16):
                    loss = answer_loss(model, ids, labels)
                loss.backward()
                losses.append(loss.item())
                tokens += ids.numel()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            facts = dict(zip(("loss", "copying"), losses, strict=False))
            reporter.update(step, **facts, tokens_per_second=tokens / (time.monotonic() - began))
    model.to("cpu").eval()


def answer_loss(model: Any, ids: Any, labels: Any) -> Any:
    """Mean cross-entropy over the positions labelled; ids and labels (B, T), labels -100 elsewhere.

    Rows are padded on the right, so that a causal model needs no mask; only labelled positions reach
    the vocabulary.
    """
    import torch

    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    wanted = labels[:, 1:] != -100
    logits = model.lm_head(hidden[wanted])
    return torch.nn.functional.cross_entropy(logits.float(), labels[:, 1:][wanted])


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a plain transformers folder in bfloat16, whole or not at all; an old one is replaced."""
    import shutil

    import torch

    if folder.exists():
        shutil.rmtree(folder)
    with atomic_folder(folder) as temporary:
        model.to(torch.bfloat16).save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)


def _encode(tokenizer: Any, samples: Sequence[tuple[str, str]]) -> list[tuple[list[int], list[int]]]:
    prompts = tokenizer([prompt for prompt, _ in samples])["input_ids"]
    answers = tokenizer([answer for _, answer in samples])["input_ids"]
    return [
        (prompt, [*answer, tokenizer.eos_token_id]) for prompt, answer in zip(prompts, answers, strict=True)
    ]


def _words(tokenizer: Any) -> list[int]:
    """Tokens that are whole words: what is worth copying."""
    texts = tokenizer.batch_decode([[index] for index in range(len(tokenizer))])
    return [index for index, text in enumerate(texts) if len(text.strip()) > 2 and text.strip().isalpha()]


def _batches(lengths: list[int], plan: Schooling, generator: random.Random) -> list[list[int]]:
    """`plan.steps` batches of rows of about one length, in random order."""
    window = plan.batch_size * 8
    batches: list[list[int]] = []
    while len(batches) < plan.steps:
        order = list(range(len(lengths)))
        generator.shuffle(order)
        some: list[list[int]] = []
        for start in range(0, len(order), window):
            near = sorted(order[start : start + window], key=lengths.__getitem__)
            some += [near[at : at + plan.batch_size] for at in range(0, len(near), plan.batch_size)]
        generator.shuffle(some)
        batches += some
    return batches[: plan.steps]


def _padded(rows: Sequence[tuple[list[int], list[int]]], pad: int, device: str) -> tuple[Any, Any]:
    import torch

    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids = torch.full((len(rows), width), pad, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    for row, (prompt, answer) in enumerate(rows):
        end = len(prompt) + len(answer)
        ids[row, :end] = torch.tensor(prompt + answer)
        labels[row, len(prompt) : end] = torch.tensor(answer)
    return ids.to(device), labels.to(device)


def _copying(words: Any, rows: int, length: int, seed: int) -> tuple[Any, Any]:
    import torch

    drawn = torch.randint(0, len(words), (rows, length), generator=torch.Generator().manual_seed(seed))
    once = words[drawn.to(words.device)]
    ids = torch.cat([once, once], dim=1)
    labels = ids.clone()
    labels[:, :length] = -100
    return ids, labels


def _rate(step: int, plan: Schooling) -> float:
    """Linear warm-up, cosine to a twentieth."""
    falling = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / plan.steps))
    return min(1.0, step / plan.warmup_steps) * falling
