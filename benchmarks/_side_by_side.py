"""Stock against shared prefixes, side by side: models with random weights, prompts, timing, tables.

Both sides run in one process and take turns, step by step, so that a busy machine slows both alike;
figures are medians over the turns, and the ratio is the median of the turns' ratios. Peak memory is
that of a process of its own for each side, above what the process holds before its first step. Both
sides run under the same tuned allocator (`personakit.training.allocator`).
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
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from personakit.files import write_text
from personakit.models.environment import keep_quiet
from personakit.training.allocator import tuned_environment

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
    """Start again under the tuned allocator, on a CPU with two threads unless told otherwise; say little."""
    missing = tuned_environment()
    if missing:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | missing)
    keep_quiet()
    import logging
    import warnings

    warnings.filterwarnings("ignore")
    logging.getLogger("transformers").setLevel(logging.ERROR)


def parser(description: str, **defaults: Any) -> argparse.ArgumentParser:
    """The options that every comparison has."""
    options = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--family", default="llama", choices=("llama", "qwen3", "mistral", "phi", "gemma"))
    options.add_argument("--size", default="5M", choices=tuple(SIZES))
    options.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    options.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    options.add_argument("--turns", type=int, default=9, help="pairs of measured steps (default 9)")
    options.add_argument("--shapes", nargs="+", metavar="P,C,G", help="instead of the default shapes")
    options.add_argument("--memory", action="store_true", help="peak memory of each side too")
    options.add_argument("--lora", action="store_true")
    options.add_argument("--checkpointing", action="store_true", help="gradient checkpointing")
    options.add_argument("--output", type=Path, help="write the table there too")
    options.add_argument("--only", choices=SIDES, help=argparse.SUPPRESS)  # a child measuring memory
    options.set_defaults(**defaults)
    return options


def on_cuda(options: argparse.Namespace) -> bool:
    import torch

    return options.device == "cuda" or (options.device == "auto" and torch.cuda.is_available())


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
    """A text of `count` tokens."""
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
        """Build it over the weights in `model`, with `settings` beside the common ones."""
        import torch
        from peft import LoraConfig
        from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback

        from personakit.training.sharing import share

        clock = self.clock = Clock()
        norms, losses = self.norms, self.losses = [], []  # type: list[float], list[float]

        class Watch(TrainerCallback):  # type: ignore[misc]
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
            callbacks=[Watch()],
            **rest,
        )
        self.trainer.remove_callback(PrinterCallback)
        if side == "shared":
            share(self.trainer)
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
    """Call the sides' steps by turns (one warm-up each); the order changes from turn to turn."""
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


class PeakMemory:
    """The highest resident set of this process (or CUDA memory) since `begin`, in GB."""

    def __init__(self) -> None:
        import torch

        self._cuda = torch.cuda.is_available()
        self._before = 0

    def begin(self) -> None:
        import torch

        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            self._before = _resident()
            self._highest, self._stop = self._before, threading.Event()
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()

    def end(self) -> float:
        import torch

        if self._cuda:
            return torch.cuda.max_memory_allocated() / 2**30
        self._stop.set()
        self._thread.join()
        return (self._highest - self._before) / 2**30

    def _watch(self) -> None:
        while not self._stop.wait(0.002):
            self._highest = max(self._highest, _resident())


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_in_child(side: str, shape: Sequence[int]) -> float:
    """Run this script again for one side and one shape, measuring memory only; GB."""
    arguments = [a for a in sys.argv[1:] if a != "--memory"]
    command = [sys.executable, sys.argv[0], *arguments, "--only", side, "--shapes", ",".join(map(str, shape))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1])["peak"])


def shapes(options: argparse.Namespace, default: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The shapes asked for."""
    if not options.shapes:
        return list(default)
    return [tuple(int(number) for number in shape.split(",")) for shape in options.shapes]


def print_table(
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
        + (", LoRA" if options.lora else "")
        + (", gradient checkpointing" if options.checkpointing else "")
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
