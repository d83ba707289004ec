"""`Run`: the directory of one training run, and everything that lets it be resumed and read.

    config.yaml     the resolved configuration
    run.json        status, versions, git commit, seed, data fingerprint, device and dtype, seconds, stages
    metrics.jsonl   one line a logging step
    checkpoints/    one folder a stage, while the stage runs
    model/          what the run made: plain transformers and PEFT load it

A stage that is done is named in run.json with its result, so a resumed run passes over it.

Under a launcher (`accelerate launch`) every process holds the same `Run`, and the first one writes it:
on the others `record`, `log_metrics` and the like change what is in memory, and no file.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from personakit import __version__
from personakit.config.loading import complete
from personakit.errors import RunError, UserError
from personakit.files import atomic_file, write_json, write_text
from personakit.training.processes import from_first, process_count

#: A start that was killed before run.json was written leaves no more than these.
_LEFT_BY_A_KILL = (".lock", "config.yaml")
#: Files that a run holds before anything was computed, and what run.json tells once something was.
_BEFORE_WORK = (*_LEFT_BY_A_KILL, "run.json", "trained_on.txt", "pool.jsonl")
_OF_WORK = {"compute", "device", "endpoints", "memory", "trajectories"}
_DISTRIBUTIONS = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")


class Run:
    """One run's directory, open for writing; `create` is the way in.

    Use it as a context manager: leaving it records how the run ended (finished, failed, interrupted). A
    run killed outright stays "running" in run.json (`find_runs` calls it "killed"), and is resumed like
    the others. One that bad input stopped before it made anything leaves nothing behind.
    """

    def __init__(self, folder: Path, facts: dict[str, Any], lock: FileLock | None) -> None:
        """Take a directory that `create` has prepared; without a lock nothing is written."""
        self.folder = folder
        self._facts = facts
        self._lock = lock
        self._opened = time.monotonic()
        self._seconds_before = float(facts["seconds"])
        self._new = self._made_folder = False

    @classmethod
    def create(
        cls,
        folder: Path | None,
        method: str,
        config: Any,
        seed: int,
        *,
        resume: bool = False,
        root: Path = Path("runs"),
    ) -> Run:
        """Make a run's directory, or take up the one that is there (`resume`).

        `config` holds the settings: a dataclass of `personakit.config`, or a mapping. Without `folder` it is
        `root/<method>-<date-time>`. Under a launcher the first process does it, and
        the others are told which folder it is. Raises `UserError` where the directory holds a run already
        and `resume` was not asked for, where it was and there is none, where the configuration or the
        number of processes differs from what the run began with, and where another process has it open.
        """
        opened: list[Run] = []

        def open_here() -> tuple[Path, dict[str, Any]]:
            opened.append(cls._open(folder, method, config, seed, resume=resume, root=root))
            return opened[0].folder, opened[0]._facts

        found, facts = from_first(open_here)
        return opened[0] if opened else cls(found, facts, lock=None)

    @classmethod
    def _open(
        cls,
        folder: Path | None,
        method: str,
        config: Any,
        seed: int,
        *,
        resume: bool,
        root: Path,
    ) -> Run:
        folder = folder or root / f"{method}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
        document = folder / "run.json"
        if resume and not document.is_file():
            raise UserError(
                f'"{folder}" holds no run to resume (no run.json)',
                hint="name the run's directory with --output, or start without --resume",
            )
        if not resume and document.is_file():
            status = _read(document).get("status")
            raise UserError(
                f'"{folder}" already holds a run ({status})',
                hint="add --resume to go on with it, or choose another --output",
            )
        made_folder = not folder.is_dir()
        there = set() if made_folder else {path.name for path in folder.iterdir()}
        # A start locks the folder before it writes: a config.yaml alone is somebody's own.
        if not resume and there and not {".lock"} <= there <= set(_LEFT_BY_A_KILL):
            raise UserError(
                f'"{folder}" is not empty and holds no run', hint="choose another --output, or empty it"
            )
        with _os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(
                f'"{folder}" is open in another process', hint="wait for it, or choose another --output"
            ) from error
        plain = _plain(config)
        if resume:
            facts = _read(document)
            _check_same(folder, facts, method, config)
            _check_processes(folder, int(facts.get("processes", 1)))
            run = cls(folder, facts, lock)
        else:
            run = cls(folder, _first_facts(method, plain, seed), lock)
            run._new, run._made_folder = True, made_folder
            _write_yaml(folder / "config.yaml", plain)
        run.record(status="running", command=sys.argv)
        return run

    @property
    def method(self) -> str:
        """The method's name: rpo, popi, pillow."""
        return str(self._facts["method"])

    @property
    def seed(self) -> int:
        """The seed everything in the run is derived from."""
        return int(self._facts["seed"])

    @property
    def status(self) -> str:
        """running, finished, failed or interrupted."""
        return str(self._facts["status"])

    @property
    def writes(self) -> bool:
        """Whether this process writes into the folder: of several, the first."""
        return self._lock is not None

    @property
    def facts(self) -> Mapping[str, Any]:
        """What run.json says."""
        return self._facts

    def checkpoints(self, stage: str) -> Path:
        """Where `stage` keeps its checkpoints."""
        return self.folder / "checkpoints" / stage

    def record(self, **facts: Any) -> None:
        """Put `facts` into run.json (data fingerprint, device, counts), with the seconds so far."""
        self._facts |= facts
        self._facts["seconds"] = round(self._seconds_before + time.monotonic() - self._opened, 3)
        if self.writes:
            write_json(self.folder / "run.json", self._facts)

    def stage_done(self, stage: str) -> dict[str, Any] | None:
        """Return what `stage` left behind, or None while it is not done."""
        result: dict[str, Any] | None = self._facts["stages"].get(stage)
        return result

    def mark_stage(self, stage: str, result: Mapping[str, Any]) -> None:
        """Record that `stage` is done; `result` is JSON that `stage_done` gives back."""
        self.record(stages=self._facts["stages"] | {stage: dict(result)})

    def log_metrics(self, stage: str, step: int, **values: float | int | str | None) -> None:
        """Append one whole line to metrics.jsonl."""
        if not self.writes:
            return
        line = json.dumps({"stage": stage, "step": step, **values}, ensure_ascii=False)
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as handle:
            handle.write(line + "\n")

    def rewind_metrics(self, stage: str, step: int) -> None:
        """Drop `stage`'s lines beyond `step`, and a line cut off by a kill.

        Called when a stage is taken up at a checkpoint, so that the file ends up as that of a run left
        alone (but for times).
        """
        path = self.folder / "metrics.jsonl"
        if not self.writes or not path.is_file():
            return
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        kept = [line for line in whole if not _is_beyond(json.loads(line), stage, step)]
        if kept != lines:
            with atomic_file(path) as temporary:
                temporary.write_text("".join(kept), encoding="utf-8")

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None:
            status = "finished"
        elif issubclass(kind, KeyboardInterrupt):
            status = "interrupted"
        else:
            status = "failed"
        try:
            bad_input = isinstance(error, UserError) and not isinstance(error, RunError)
            if not (bad_input and self._took_nothing_up() and self._vanish()):
                self.record(status=status, **({} if kind is None else {"error": f"{kind.__name__}: {error}"}))
        finally:
            if self._lock is not None:
                self._lock.release()

    def _took_nothing_up(self) -> bool:
        """Whether the run began here and nothing was computed, asked for or paid for yet."""
        begun = self._facts["stages"] or _OF_WORK & self._facts.keys()
        return self.writes and self._new and not begun

    def _vanish(self) -> bool:
        """Take away what the start wrote, and the folder if it made it; False where more is there."""
        try:
            if any(path.name not in _BEFORE_WORK for path in self.folder.iterdir()):
                return False
            for name in _BEFORE_WORK:
                (self.folder / name).unlink(missing_ok=True)
            if self._made_folder:
                self.folder.rmdir()
        except OSError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run seen from outside, for listing and choosing."""

    folder: Path
    method: str
    status: str
    created: str
    seconds: float


def find_runs(root: Path = Path("runs")) -> list[RunSummary]:
    """Return the runs directly under `root`, newest first; none where `root` is not there.

    A run that was killed could not write so: it is the one that says "running" and that nobody has open.
    """
    summaries = []
    for document in root.glob("*/run.json"):
        facts = _read(document)
        summaries.append(
            RunSummary(
                folder=document.parent,
                method=str(facts["method"]),
                status=_status(document.parent, str(facts["status"])),
                created=str(facts["created"]),
                seconds=float(facts["seconds"]),
            )
        )
    return sorted(summaries, key=lambda run: (run.created, run.folder.name), reverse=True)


def newest_run(
    root: Path = Path("runs"), method: str | None = None, *, finished: bool | None = True
) -> Path | None:
    """Return the newest run's folder, or None.

    `finished` True: only finished runs (to evaluate); False: only those that stopped before (to resume);
    None: any.
    """
    for run in find_runs(root):
        right_method = method is None or run.method == method
        right_status = finished is None or (
            run.status == "finished" if finished else run.status not in ("finished", "running")
        )
        if right_method and right_status:
            return run.folder
    return None


def _status(folder: Path, recorded: str) -> str:
    if recorded != "running" or not (folder / ".lock").is_file():
        return "killed" if recorded == "running" else recorded
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except OSError:  # filelock's Timeout, or a file of another user's, of which one cannot tell
        return recorded
    lock.release()
    return "killed"


def _first_facts(method: str, config: dict[str, Any], seed: int) -> dict[str, Any]:
    return {
        "method": method,
        "status": "running",
        "created": datetime.datetime.now(datetime.UTC).isoformat(),
        "seed": seed,
        "seconds": 0.0,
        "processes": process_count(),
        "stages": {},
        "versions": _versions(),
        "git_commit": _git_commit(),
        "config": config,
    }


def _versions() -> dict[str, str]:
    versions = {"personakit": __version__, "python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _git_commit() -> str | None:
    """The commit of the checkout that this code runs from, "+changes" if it has any; None if it is none."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return None
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--match=", "--dirty=+changes"],
            cwd=checkout,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return described.stdout.strip() or None


def _read(document: Path) -> dict[str, Any]:
    try:
        facts = json.loads(document.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{document}, line {error.lineno}: not JSON ({error.msg})",
            hint="run.json is written by personakit; remove the directory if it was damaged",
        ) from error
    needed = ("method", "status", "created", "seconds", "seed", "stages", "config")
    absent = [key for key in needed if not isinstance(facts, dict) or key not in facts]
    if absent:
        raise UserError(f'{document}: "{absent[0]}" is missing', hint="this is not a run of personakit's")
    return dict(facts)


def _plain(config: Any) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config) if is_dataclass(config) else dict(config)))  # type: ignore[arg-type]
    return plain


def _check_same(folder: Path, facts: Mapping[str, Any], method: str, config: Any) -> None:
    if facts["method"] != method:
        raise UserError(
            f'"{folder}" holds a run of {facts["method"]}, not of {method}',
            hint=f"resume it with `personakit train {facts['method']}`",
        )
    saved = facts["config"]
    if is_dataclass(config):  # an earlier version may have saved it
        saved = complete(type(config), saved, place=str(folder / "run.json"))
    before, now = _flat(_plain(saved)), _flat(_plain(config))
    for key in dict.fromkeys([*before, *now]):
        if before.get(key, _Absent) != now.get(key, _Absent):
            raise UserError(
                f'"{folder}" began with {key}={before.get(key, "(not set)")}, '
                f"and {key} is now {now.get(key, '(not set)')}",
                hint="resume with the configuration it began with, or start a new run",
            )


def _check_processes(folder: Path, before: int) -> None:
    # The batch is so much a device: another number of devices is another training.
    if before != process_count():
        raise UserError(
            f'"{folder}" began on {before} processes, and there are now {process_count()}',
            hint="launch as many as it began with, or start a new run",
        )


class _Absent:
    """Stands for a key that is not there (None may be a value)."""


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _is_beyond(line: Mapping[str, Any], stage: str, step: int) -> bool:
    return bool(line["stage"] == stage and line["step"] > step)


def _write_yaml(path: Path, config: dict[str, Any]) -> None:
    from omegaconf import OmegaConf

    write_text(path, OmegaConf.to_yaml(OmegaConf.create(config)))


@contextlib.contextmanager
def _os_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f'"{folder}" cannot be made: {error.strerror or error}', hint="choose another --output"
        ) from error
