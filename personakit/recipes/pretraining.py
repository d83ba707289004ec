"""Trains a small Llama from scratch: tokenizer, training loop, and the copying task. Shared by the recipes.

Copying: a model of this size must copy words that it has never seen copied. What does that, a pair of
attention heads of which the first finds the previous token and the second an earlier occurrence of the
present one (induction heads, arXiv 2209.11895), does not form by training on thousands of different words
in the minutes that a recipe takes. So it is there from the start (`_add_induction_heads`), and a hundred
steps of copying random words make it exact.

Not included, for simplicity: validation, resuming, more than one device. A recipe takes minutes and is run by
hand.
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
    """The size of a Llama. The defaults are nano's, with about a million parameters."""

    width: int = 128
    layers: int = 4
    heads: int = 4
    vocabulary: int = 1536
    positions: int = 1024


@dataclass(frozen=True)
class TrainingPlan:
    """Training hyperparameters. All are our choice; learning rate and copying steps are tuned."""

    steps: int
    batch_size: int = 24
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    weight_decay: float = 0.05
    copying_steps: int = 200
    """Up to this step, every step has an additional batch of copying; later, every fourth."""
    seed: int = 0


def train_tokenizer(corpus: Iterable[str], shape: ModelShape, pieces: Sequence[str] = ()) -> Any:
    """Return a byte-level BPE tokenizer. Each of `pieces` (fixed wording) becomes one token.

    The first letter of a word is a token of its own, with the space before it. So a word at the beginning of
    an answer, or with a capital, differs from the same word elsewhere in one token, and the rest is copied.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"(?<![A-Za-z]) ?[A-Za-z](?=[a-z])"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
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
    """Return a randomly initialised Llama for `tokenizer`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=8 * (shape.width // 3),
            vocab_size=len(tokenizer),
            tie_word_embeddings=True,
            attention_bias=True,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6},
            max_position_embeddings=shape.positions,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    _add_induction_heads(model)
    return model


def train(model: Any, tokenizer: Any, samples: Sequence[tuple[str, str]], plan: TrainingPlan) -> None:
    """Train `model` on (prompt, answer) pairs for `plan.steps` steps, with the loss on the answers."""
    import torch

    from personakit.training.precision import decide_precision
    from personakit.training.progress import choose_progress, report_stage

    precision = decide_precision("auto", "auto")
    print(f"{precision.device}, {precision.dtype}: {precision.reason}", flush=True)
    model.to(precision.device).train()
    generator = random.Random(plan.seed)
    rows = _encode_pairs(tokenizer, samples)
    batches = _length_batches([len(prompt) + len(answer) for prompt, answer in rows], plan, generator)
    words = torch.tensor(_whole_words(tokenizer), device=precision.device)
    optimizer = torch.optim.AdamW(
        model.parameters(), plan.learning_rate, betas=(0.9, 0.95), weight_decay=plan.weight_decay
    )
    start_time, tokens = time.monotonic(), 0
    with report_stage(choose_progress(), "training", plan.steps) as reporter:
        for step, batch in enumerate(batches, 1):
            for group in optimizer.param_groups:
                group["lr"] = plan.learning_rate * _learning_rate_factor(step, plan)
            batches_of_step = [
                _padded([rows[index] for index in batch], tokenizer.pad_token_id, precision.device)
            ]
            if step <= plan.copying_steps or step % 4 == 0:
                batches_of_step.append(
                    _copying_batch(words, 32, generator.randint(10, 40), generator.getrandbits(32))
                )
            losses = []
            for ids, labels in batches_of_step:
                with torch.autocast(precision.device, torch.bfloat16, enabled=precision.bf16):
                    loss = answer_loss(model, ids, labels)
                loss.backward()
                losses.append(loss.item())
                tokens += ids.numel()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            metrics = dict(zip(("loss", "copying"), losses, strict=False))
            reporter.update(step, **metrics, tokens_per_second=tokens / (time.monotonic() - start_time))
    model.to("cpu").eval()


def answer_loss(model: Any, ids: Any, labels: Any) -> Any:
    """Return the mean cross-entropy over labelled positions.

    `ids` and `labels` have shape (B, T); unlabelled positions are -100. Rows are right-padded, so a causal
    model needs no mask. The LM head is applied to labelled positions only.
    """
    import torch

    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    labelled = labels[:, 1:] != -100
    logits = model.lm_head(hidden[labelled])
    return torch.nn.functional.cross_entropy(logits.float(), labels[:, 1:][labelled])


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a transformers folder in bfloat16, atomically. An existing folder is replaced."""
    import shutil

    import torch

    if folder.exists():
        shutil.rmtree(folder)
    with atomic_folder(folder) as temporary:
        model.to(torch.bfloat16).save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)


def _add_induction_heads(model: Any) -> None:
    """Initialise the first two layers so that the model continues a repetition, as far as chance allows.

    Layer 1 adds the previous token's embedding, in another basis, to each position: its biases make a query
    and the key before it agree in all rotary frequencies. Layer 2 compares the present token with these
    previous ones and adds the embedding of the token where they agree. It compares in the lower frequencies
    only, because those hardly turn over the length of a prompt. The scales are our choice.
    """
    import torch

    with torch.no_grad():
        width, heads = model.config.hidden_size, model.config.num_attention_heads
        model.model.embed_tokens.weight.normal_(0, width**-0.5)
        values, outputs, compared, copied = (torch.linalg.qr(torch.randn(width, width))[0] for _ in range(4))
        turn = model.model.rotary_emb.inv_freq.float()
        previous, match = (layer.self_attn for layer in model.model.layers[:2])
        previous.q_proj.bias.copy_(
            torch.cat([torch.ones_like(turn), torch.zeros_like(turn)]).repeat(heads) * 6
        )
        previous.k_proj.bias.copy_(torch.cat([turn.cos(), turn.sin()]).repeat(heads) * 6)
        previous.v_proj.weight.copy_(values)
        previous.o_proj.weight.copy_(outputs * width**-0.5)
        low = (torch.arange(len(turn)) >= len(turn) * 7 // 16).repeat(2 * heads)[:, None]
        match.q_proj.weight.copy_(2.5 * low * compared)
        match.k_proj.weight.copy_(2.5 * low * (compared @ (outputs @ values).T))
        match.v_proj.weight.copy_(copied)
        match.o_proj.weight.copy_(copied.T / 2)


def _encode_pairs(tokenizer: Any, samples: Sequence[tuple[str, str]]) -> list[tuple[list[int], list[int]]]:
    prompts = tokenizer([prompt for prompt, _ in samples])["input_ids"]
    answers = tokenizer([answer for _, answer in samples])["input_ids"]
    return [
        (prompt, [*answer, tokenizer.eos_token_id]) for prompt, answer in zip(prompts, answers, strict=True)
    ]


def _whole_words(tokenizer: Any) -> list[int]:
    """Return the tokens that are whole words, for the copying task."""
    texts = tokenizer.batch_decode([[index] for index in range(len(tokenizer))])
    return [index for index, text in enumerate(texts) if len(text.strip()) > 2 and text.strip().isalpha()]


def _length_batches(lengths: list[int], plan: TrainingPlan, generator: random.Random) -> list[list[int]]:
    """Return `plan.steps` batches of rows of similar length, in random order."""
    window = plan.batch_size * 8
    batches: list[list[int]] = []
    while len(batches) < plan.steps:
        order = list(range(len(lengths)))
        generator.shuffle(order)
        epoch: list[list[int]] = []
        for start in range(0, len(order), window):
            similar = sorted(order[start : start + window], key=lengths.__getitem__)
            epoch += [
                similar[offset : offset + plan.batch_size]
                for offset in range(0, len(similar), plan.batch_size)
            ]
        generator.shuffle(epoch)
        batches += epoch
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


def _copying_batch(words: Any, rows: int, length: int, seed: int) -> tuple[Any, Any]:
    import torch

    indices = torch.randint(0, len(words), (rows, length), generator=torch.Generator().manual_seed(seed))
    copied = words[indices.to(words.device)]
    ids = torch.cat([copied, copied], dim=1)
    labels = ids.clone()
    labels[:, :length] = -100
    return ids, labels


def _learning_rate_factor(step: int, plan: TrainingPlan) -> float:
    """Return the learning rate factor: linear warmup, then cosine decay to 5 %."""
    decay = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / plan.steps))
    return min(1.0, step / plan.warmup_steps) * decay
