"""Shared by the comparisons of stock implementations with shared prefixes: models, prompts, timing, tables.

Both sides run in one process and alternate step by step, so that load on the machine slows both equally.
Figures are medians over the turns; the ratio is the median of the turns' ratios. Peak memory is measured in
a separate process for each side, above what the process holds before its first step. Both sides run under
the same tuned allocator (`personakit.training.allocator`). Models have random weights.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personakit.files import write_text
from personakit.models.environment import hide_loading_bars
from personakit.training.allocator import allocator_environment

RESULTS = Path(__file__).parent / "results"
SIDES = ("stock", "shared")

#: Width, layers, heads, their width, key-value heads, width of the MLP, vocabulary. The larger ones are
#: Qwen3's (https://huggingface.co/Qwen/Qwen3-0.6B, config.json; Qwen3-1.7B likewise).
SIZES = {
    "5M": (256, 6, 4, 64, 4, 672, 2048),
    "0.6B": (1024, 28, 16, 128, 8, 3072, 151_936),
    "1.7B": (2048, 28, 16, 128, 8, 6144, 151_936),
}


def begin() -> None:
    """Restart under the tuned allocator; on a CPU with two threads by default; silence libraries."""
    missing = allocator_environment()
    if missing:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | missing)
    hide_loading_bars()
    import logging
    import warnings

    import datasets

    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore")
    logging.getLogger("transformers").setLevel(logging.ERROR)


def parser(description: str | None, *, trains: bool) -> argparse.ArgumentParser:
    """The options that every comparison has, and those of the ones that train."""
    options = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--family", default="llama", choices=("llama", "qwen3", "mistral", "phi", "gemma"))
    options.add_argument("--size", default="5M", choices=tuple(SIZES))
    options.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    options.add_argument("--turns", type=_positive, default=9, help="pairs of measured steps (default 9)")
    options.add_argument(
        "--shapes", nargs="+", type=_shape, metavar="P,C,G", help="instead of the default ones"
    )
    options.add_argument("--memory", action="store_true", help="peak memory of each side too")
    options.add_argument("--output", type=Path, help="write the table there too")
    options.add_argument("--only", choices=SIDES, help=argparse.SUPPRESS)  # a child measuring memory
    if trains:
        options.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
        options.add_argument("--lora", action="store_true")
        options.add_argument("--checkpointing", action="store_true", help="gradient checkpointing")
    return options


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'"{text}", expected a whole number of at least 1')
    return int(text)


def _shape(text: str) -> tuple[int, ...]:
    return tuple(_positive(number) for number in text.split(","))


def on_cuda(options: argparse.Namespace) -> bool:
    return options.device == "cuda" or (options.device == "auto" and _has_cuda())


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def make_model(folder: Path, family: str, size: str, longest: int) -> Path:
    """Random weights in a real architecture with full attention, and a tokenizer of one token a letter."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    width, layers, heads, head, groups, inner, vocabulary = SIZES[size]
    names = {"llama": "Llama", "qwen3": "Qwen3", "mistral": "Mistral", "phi": "Phi", "gemma": "Gemma"}
    extra: dict[str, Any] = {} if family == "phi" else {"head_dim": head}
    if family == "mistral":
        extra["sliding_window"] = None
    config = getattr(transformers, f"{names[family]}Config")(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        intermediate_size=inner,
        vocab_size=vocabulary,
        tie_word_embeddings=True,
        max_position_embeddings=longest + 8,
        initializer_range=0.08 if size == "5M" else 0.02,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
        **extra,
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{names[family]}ForCausalLM")(config)
    model.save_pretrained(folder)
    letters = {"<pad>": 0, "<eos>": 1, **{letter: 2 + i for i, letter in enumerate("abcdefghij")}}
    tokenizer = Tokenizer(models.WordLevel(letters, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", padding_side="left"
    ).save_pretrained(folder)
    return folder


def letters(drawn: random.Random, count: int) -> str:
    """Return a text of `count` tokens."""
    return "".join(drawn.choices("abcdefghij", k=count))


class Clock:
    """Adds up the seconds spent in wrapped functions."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def wrap(self, owner: Any, name: str, label: str) -> None:
        """Time every call of `owner.name` under `label`."""
        inner = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.timing(label):
                return inner(*args, **kwargs)

        setattr(owner, name, timed)

    def timing(self, label: str) -> Any:
        """A context whose seconds count under `label`."""
        return _Timing(self, label)

    def take(self) -> dict[str, float]:
        """The seconds since the last take."""
        taken, self.seconds = self.seconds, {}
        return taken


class _Timing:
    def __init__(self, clock: Clock, label: str) -> None:
        self._clock, self._label = clock, label

    def __enter__(self) -> None:
        _synchronize()
        self._began = time.perf_counter()

    def __exit__(self, *_: Any) -> None:
        _synchronize()
        seconds = self._clock.seconds
        seconds[self._label] = seconds.get(self._label, 0.0) + time.perf_counter() - self._began


def _synchronize() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


class TrainerSide:
    """A TRL trainer, as it comes or with shared prefixes, trained one step at a time."""

    def __init__(
        self,
        side: str,
        model: Path,
        options: argparse.Namespace,
        trainer: Any,
        config: Any,
        dataset: Any,
        settings: dict[str, Any],
        **rest: Any,
    ) -> None:
        """Build it over the weights in `model`, with `settings` in addition to the common ones."""
        import torch
        from peft import LoraConfig
        from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback

        from personakit.training.sharing import share_trainer_prefixes

        clock = self.clock = Clock()
        norms: list[float] = []
        losses: list[float] = []
        self.norms, self.losses = norms, losses

        class StageCallback(TrainerCallback):
            def on_step_begin(self, *_: Any, **__: Any) -> None:
                clock.take()
                self.whole = clock.timing("step")
                self.whole.__enter__()

            def on_step_end(self, *_: Any, **__: Any) -> None:
                self.whole.__exit__()

            def on_log(self, *_: Any, logs: Any = None, **__: Any) -> None:
                if "grad_norm" in (logs or {}):
                    norms.append(float(logs["grad_norm"]))
                    losses.append(float(logs["loss"]))

        lora = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
        arguments = config(
            output_dir=str(model.parent / side),
            max_steps=1,
            bf16=options.dtype == "bfloat16",
            use_cpu=not on_cuda(options),
            activation_checkpointing=options.checkpointing,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_steps=1,
            seed=0,
            **settings,
        )
        self.trainer = trainer(
            AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
            args=arguments,
            train_dataset=dataset,
            processing_class=AutoTokenizer.from_pretrained(model),
            peft_config=lora if options.lora else None,
            callbacks=[StageCallback()],
            **rest,
        )
        self.trainer.remove_callback(PrinterCallback)
        if side == "shared":
            share_trainer_prefixes(self.trainer)
        clock.wrap(self.trainer, "compute_loss", "update")
        clock.wrap(self.trainer.accelerator, "backward", "update")

    def step(self) -> dict[str, float]:
        """Train for one step; its seconds."""
        import torch

        torch.manual_seed(len(self.norms))
        self.trainer.train()
        return self.clock.take()


def take_turns(
    step: dict[str, Callable[[], dict[str, float]]], turns: int
) -> dict[str, list[dict[str, float]]]:
    """Alternate the sides' steps (one warm-up each); the order changes from turn to turn."""
    taken: dict[str, list[dict[str, float]]] = {side: [] for side in step}
    for side in step:
        step[side]()
    for turn in range(turns):
        for side in step if turn % 2 == 0 else reversed(step):
            taken[side].append(step[side]())
    return taken


def ratio(taken: dict[str, list[dict[str, float]]], label: str) -> tuple[float, float, float]:
    """Median seconds of stock and of shared, and the median of the turns' ratios."""
    stock, shared = ([each[label] for each in taken[side]] for side in SIDES)
    ratios = [a / b for a, b in zip(stock, shared, strict=True)]
    return statistics.median(stock), statistics.median(shared), statistics.median(ratios)


def largest_difference(values: dict[str, Sequence[float]]) -> float:
    """The largest relative difference between the two sides' numbers."""
    return max(abs(a - b) / abs(b) for a, b in zip(*(values[side] for side in SIDES), strict=True))


def use_of_gpu(
    options: argparse.Namespace, model: Path, row: int, dense: int, needed: int, seconds: tuple[float, float]
) -> tuple[Any, ...]:
    """On a GPU, for both sides: the padded batch's tokens a second, and the share of peak FLOP/s in use.

    Stock runs all `dense` tokens, shared the `needed` ones; `row`: tokens of a row, for the attention's
    FLOPs, counted as TRL does (every token sees the whole row).
    """
    if not on_cuda(options):
        return ()
    import torch
    from transformers import AutoConfig
    from trl.trainer.utils import compute_flops_per_token, get_peak_flops

    peak = get_peak_flops(torch.cuda.get_device_name(), options.dtype)
    per_token = compute_flops_per_token(AutoConfig.from_pretrained(model), row)
    cells: list[Any] = []
    for run, taken in zip((dense, needed), seconds, strict=True):
        cells += [dense / taken, per_token * run / taken / peak if peak else "unknown"]
    return tuple(cells)


def gpu_header(options: argparse.Namespace) -> list[str]:
    """The headings of `use_of_gpu`'s columns."""
    return ["tokens/s stock", "share of peak", "tokens/s shared", "share of peak"] if on_cuda(options) else []


@dataclass(frozen=True)
class Comparison:
    """What one script compares."""

    title: str
    header: Sequence[str]
    """The headings before those of GPU and memory; the first ones name the shape's numbers."""
    longest: Callable[[tuple[int, ...]], int]
    """Tokens of the longest row of a shape."""
    build: Callable[[str, Path, tuple[int, ...]], Any]
    """A side, from its name, the model's folder and the shape; its `step()` returns seconds by label."""
    row: Callable[[tuple[int, ...], Path, dict[str, Any], dict[str, list[dict[str, float]]]], tuple[Any, ...]]
    """The cells behind the shape's, from shape, model's folder, the two sides and what `take_turns` gave."""


def compare(
    comparison: Comparison,
    options: argparse.ArgumentParser,
    chosen: argparse.Namespace,
    default: Sequence[tuple[int, ...]],
) -> None:
    """Measure every shape; print each result, then the table."""
    numbers = len(default[0])
    for shape in chosen.shapes or ():
        if len(shape) != numbers:
            names = ",".join(comparison.header[:numbers])
            options.error(f"--shapes {','.join(map(str, shape))}: expected {names}, such as {default[-1]}")
    if chosen.device == "cuda" and not _has_cuda():
        options.error("--device cuda: this torch sees no CUDA device")
    if not hasattr(chosen, "dtype"):  # LocalModel decides
        chosen.dtype = "bfloat16" if on_cuda(chosen) else "float32"
    rows = []
    for shape in chosen.shapes or default:
        with tempfile.TemporaryDirectory() as folder:
            longest = comparison.longest(shape)
            model = make_model(Path(folder) / "model", chosen.family, chosen.size, longest)
            if chosen.only:
                print(json.dumps({"peak": _peak(comparison.build(chosen.only, model, shape).step)}))
                return
            sides = {side: comparison.build(side, model, shape) for side in SIDES}
            taken = take_turns({side: sides[side].step for side in SIDES}, chosen.turns)
            row = (*shape, *comparison.row(shape, model, sides, taken))
        if chosen.memory:
            stock, shared = (_peak_in_child(side, shape) for side in SIDES)
            row = (*row, stock, shared, shared / stock)
        rows.append(row)
        print(*map(_cell, row), flush=True)
    memory = ["peak GB stock", "shared", "share"] if chosen.memory else []
    _print_table(chosen, comparison.title, [*comparison.header, *memory], rows)


def _peak(step: Callable[[], Any]) -> float:
    """The highest memory of two steps, in GB: on a CPU the resident set above what it was before them."""
    import torch

    if torch.cuda.is_available():
        step()
        step()
        return torch.cuda.max_memory_allocated() / 2**30
    before = highest = _resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.002):
            highest = max(highest, _resident())

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    step()
    step()
    done.set()
    watching.join()
    return (highest - before) / 2**30


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _peak_in_child(side: str, shape: Sequence[int]) -> float:
    """Run this script again for one side and one shape, measuring memory only; GB."""
    arguments = [a for a in sys.argv[1:] if a != "--memory"]
    command = [sys.executable, sys.argv[0], *arguments, "--only", side, "--shapes", ",".join(map(str, shape))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1])["peak"])


def _print_table(
    options: argparse.Namespace, title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Print a table with what it was measured on; write it to `--output` too."""
    import torch
    import transformers
    import trl

    where = (
        torch.cuda.get_device_name()
        if on_cuda(options)
        else f"{platform.machine()}, {torch.get_num_threads()} threads"
    )
    lines = [
        f"{title}: {options.family} {options.size}, {options.dtype}"
        + (", LoRA" if getattr(options, "lora", False) else "")
        + (", gradient checkpointing" if getattr(options, "checkpointing", False) else "")
        + f"; {where}; {options.turns} turns",
        f"torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}, "
        f"trl {trl.__version__}",
        "",
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(_cell(value) for value in row) + " |" for row in rows),
        "",
    ]
    print("\n".join(lines))
    if options.output:
        write_text(options.output, "\n".join(lines))


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
