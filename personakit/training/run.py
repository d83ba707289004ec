"""`Run`: the folder of one training run, which can be resumed.

    config.yaml     the resolved configuration
    run.json        status, versions, git commit, seed, data fingerprint, device and dtype, seconds, stages
    metrics.jsonl   one line per logging step
    checkpoints/    one folder per stage, while the stage runs
    model/          the result, which transformers and PEFT can load

run.json holds the result of each finished stage, and a resumed run skips these stages.

Under a launcher (`accelerate launch`) every process has the same `Run`, but only the main process writes
files.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import importlib.metadata
import json
import os
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
from personakit.files import atomic_file, json_text, write_json, write_text
from personakit.training.processes import from_main_process, process_count

#: The files of a run that was killed before run.json was written.
_BEFORE_RUN_JSON = (".lock", "config.yaml")
#: The files of a run before any computation, and the entries of run.json that show a computation.
_BEFORE_WORK = (*_BEFORE_RUN_JSON, "run.json", "trained_on.txt", "pool.jsonl")
_OF_WORK = {"compute", "device", "endpoints", "memory", "trajectories"}
_DISTRIBUTIONS = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")


class Run:
    """The folder of one run, open for writing; made by `create`.

    Use it as a context manager: leaving it records how the run ended (finished, failed, interrupted). A
    killed run stays "running" in run.json (`find_runs` reports "killed") and can be resumed too. A run that
    fails on bad input before any computation removes its folder.
    """

    def __init__(self, folder: Path, facts: dict[str, Any], lock: FileLock | None) -> None:
        """Use a folder that `create` has prepared; without a lock, write no files."""
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
        """Create a run's folder, or open an existing one (`resume`).

        `config` holds the settings: a dataclass of `personakit.config`, or a mapping. `folder` defaults to
        `root/<method>-<date-time>`. Under a launcher the main process chooses the folder for all. Raises
        `UserError` if the folder holds a run (without `resume`) or none (with it), if the configuration or
        the number of processes has changed since the run began, or if another process has the run open.
        """
        opened: list[Run] = []

        def open_here() -> tuple[Path, dict[str, Any]]:
            opened.append(cls._open(folder, method, config, seed, resume=resume, root=root))
            return opened[0].folder, opened[0]._facts

        found, facts = from_main_process(open_here)
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
        check_output(folder, resume=resume)
        made_folder = not folder.is_dir()
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
        """The random seed of the run."""
        return int(self._facts["seed"])

    @property
    def status(self) -> str:
        """running, finished, failed or interrupted."""
        return str(self._facts["status"])

    @property
    def writes(self) -> bool:
        """True if this process writes into the folder: only the main process does."""
        return self._lock is not None

    @property
    def facts(self) -> Mapping[str, Any]:
        """The contents of run.json."""
        return self._facts

    def checkpoints(self, stage: str) -> Path:
        """Return the folder of the checkpoints of `stage`."""
        return self.folder / "checkpoints" / stage

    def record(self, **facts: Any) -> None:
        """Add `facts` (data fingerprint, device, counts) and the seconds so far to run.json."""
        self._facts |= facts
        self._facts["seconds"] = round(self._seconds_before + time.monotonic() - self._opened, 3)
        if self.writes:
            write_json(self.folder / "run.json", self._facts)

    def stage_done(self, stage: str) -> dict[str, Any] | None:
        """Return the result of `stage`, or None if it is not finished."""
        result: dict[str, Any] | None = self._facts["stages"].get(stage)
        return result

    def mark_stage(self, stage: str, result: Mapping[str, Any]) -> None:
        """Record the result (JSON) of the finished `stage`, which `stage_done` returns."""
        self.record(stages=self._facts["stages"] | {stage: dict(result)})

    def log_metrics(self, stage: str, step: int, **values: float | int | str | None) -> None:
        """Append one line to metrics.jsonl."""
        if not self.writes:
            return
        line = json_text({"stage": stage, "step": step, **values})
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as handle:
            handle.write(line + "\n")

    def rewind_metrics(self, stage: str, step: int) -> None:
        """Remove lines of `stage` after `step`, and an incomplete last line.

        Called when a stage resumes from a checkpoint, so that the file ends (apart from times) as without the
        interruption.
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
            if not (bad_input and self._computed_nothing() and self._remove_files()):
                # On a full disk this fails too, and must not hide the first error.
                with contextlib.nullcontext() if kind is None else contextlib.suppress(OSError):
                    self.record(
                        status=status, **({} if kind is None else {"error": f"{kind.__name__}: {error}"})
                    )
        finally:
            if self._lock is not None:
                self._lock.release()

    def _computed_nothing(self) -> bool:
        """Return True if the run is new and nothing was computed or requested from an API yet."""
        begun = self._facts["stages"] or _OF_WORK & self._facts.keys()
        return self.writes and self._new and not begun

    def _remove_files(self) -> bool:
        """Remove the files of a new run, and a folder it created; return False if other files exist."""
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
    """A run in a list of runs."""

    folder: Path
    method: str
    status: str
    created: str
    seconds: float


def check_output(folder: Path, *, resume: bool = False) -> None:
    """Raise `UserError` if no run can be made in `folder`, or (`resume`) none is there. Writes nothing."""
    document = folder / "run.json"
    with _os_errors(folder):
        if resume and not document.is_file():
            raise UserError(
                f'"{folder}" holds no run to resume (no run.json)',
                hint="give the run's folder with --output, or start without --resume",
            )
        if not resume and document.is_file():
            status = _read(document).get("status")
            raise UserError(
                f'"{folder}" already holds a run ({status})',
                hint="add --resume to continue it, or choose another --output",
            )
        there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        # A run locks the folder before it writes, so a config.yaml without a lock is the user's.
        if not resume and there and not {".lock"} <= there <= set(_BEFORE_RUN_JSON):
            raise UserError(
                f'"{folder}" is not empty and holds no run',
                hint="choose another --output, or empty the folder",
            )
        existing = next(parent for parent in (folder, *folder.absolute().parents) if os.path.lexists(parent))
        if not existing.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{existing} is not a folder")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, f"no permission to write in {existing}")


def find_runs(root: Path = Path("runs")) -> list[RunSummary]:
    """Return the runs directly in `root`, newest first; empty if `root` does not exist.

    A run is "killed" if run.json says "running" but no process has it open.
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

    `finished` True: only finished runs (to evaluate); False: only unfinished ones (to resume); None: any.
    """
    for run in find_runs(root):
        right_method = method is None or run.method == method
        right_status = finished is None or (
            run.status == "finished" if finished else run.status not in ("finished", "running")
        )
        if right_method and right_status:
            return run.folder
    return None


def status_of(folder: Path) -> str:
    """Return a run's status: running, finished, failed, interrupted or killed."""
    return _status(folder, str(_read(folder / "run.json")["status"]))


def _status(folder: Path, recorded: str) -> str:
    if recorded != "running" or not (folder / ".lock").is_file():
        return "killed" if recorded == "running" else recorded
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except OSError:  # filelock's Timeout, or a lock file of another user
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
        "working_folder": str(Path.cwd()),
        "config": config,
    }


def _versions() -> dict[str, str]:
    versions = {"personakit": __version__, "python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _git_commit() -> str | None:
    """Return the commit of this checkout, plus "+changes" if it is modified; None outside a checkout."""
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
            hint="run.json is written by personakit; remove the folder if the file is damaged",
        ) from error
    needed = ("method", "status", "created", "seconds", "seed", "stages", "config")
    absent = [key for key in needed if not isinstance(facts, dict) or key not in facts]
    if absent:
        raise UserError(f'{document}: "{absent[0]}" is missing', hint="this is not a personakit run")
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
    if is_dataclass(config):  # may be from an earlier version
        saved = complete(type(config), saved, place=str(folder / "run.json"))
    before, now = _flat(_plain(saved)), _flat(_plain(config))
    for key in dict.fromkeys([*before, *now]):
        if before.get(key, _Absent) != now.get(key, _Absent):
            raise UserError(
                f'"{folder}" began with {key}={before.get(key, "(not set)")}, '
                f"but {key} is now {now.get(key, '(not set)')}",
                hint="resume with the original configuration, or start a new run",
            )


def _check_processes(folder: Path, before: int) -> None:
    # Batch sizes are per device, so another number of processes changes the training.
    if before != process_count():
        raise UserError(
            f'"{folder}" began on {before} processes, but there are now {process_count()}',
            hint="launch the same number of processes, or start a new run",
        )


class _Absent:
    """Marks a missing key (None may be a value)."""


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
