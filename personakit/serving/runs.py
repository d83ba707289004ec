"""Opens the runs of a service. Adapters on one base model share its weights, the bare base model's too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from personakit.contracts import LanguageModel
from personakit.errors import UserError
from personakit.method import FinishedRun
from personakit.methods import read_run
from personakit.models.model_files import locate
from personakit.models.open import is_endpoint, open_language_model, resolve_model
from personakit.popi.adapters import BASE, GENERATOR
from personakit.popi.method import METHOD as POPI
from personakit.popi.models import open_adapters
from personakit.popi.opening import LoadedPOPI, answering_adapters
from personakit.rpo.method import METHOD as RPO
from personakit.serving.batching import Batcher
from personakit.serving.local_base import LocalBase
from personakit.serving.rewriters import RewritingRun, name_of
from personakit.serving.summaries import SummaryRun

ServedRun = RewritingRun | SummaryRun
OpenLocal = Callable[[str, LanguageModel], LocalBase]


def open_runs(
    folders: Sequence[Path], base: str, batcher: Batcher, local: OpenLocal, *, check_content: bool = False
) -> tuple[dict[str, ServedRun], LanguageModel | None]:
    """Return the runs by the names that clients use, and the model `base`, None if it is behind HTTP.

    `local` opens a POPI run's generator, by name and model, as the service's own base model is opened.
    With `check_content`, runs of RPO undo edits that lose or invent facts.
    Raises `UserError` for a run that cannot be served, and for two of the same name, or the base model's.
    """
    runs: dict[str, FinishedRun] = {}
    for folder in folders:
        run = read_run(folder)
        if run.method not in (RPO.name, POPI.name):
            # PILLOW's encoders, for example, keep vectors of texts in the cache's folder.
            raise UserError(
                f"{folder}: runs of {run.method} are not served: what they derive from users' texts may stay "
                "on the disk, where forgetting does not reach",
                hint=f"serve a run of {RPO.name} or {POPI.name}",
            )
        if name_of(run) in runs:
            raise UserError(
                f'--run {folder}: another run is called "{name_of(run)}", too',
                hint="rename one of the folders",
            )
        runs[name_of(run)] = run
    if (name := base.removeprefix("openai:")) in runs:
        raise UserError(
            f'the base model and a run are both called "{name}", expected two names',
            hint="rename the run's folder",
        )
    own = None if is_endpoint(base) else base
    models = _open_models([own] if own else [], runs.values())
    opened: dict[str, ServedRun] = {
        name: RewritingRun.open(run, models[str(run.path())], check_content=check_content)
        if run.method == RPO.name
        else _summary_run(name, run, models, base, batcher, local)
        for name, run in runs.items()
    }
    return opened, models[own] if own else None


def _summary_run(
    name: str, run: FinishedRun, models: dict[str, Any], base: str, batcher: Batcher, local: OpenLocal
) -> SummaryRun:
    adapters = {name: models[str(folder)] for name, folder in answering_adapters(run.folder).items()}
    loaded = LoadedPOPI(run, {**adapters, BASE: models[run.settings.model]})
    same = not is_endpoint(base) and resolve_model(base) == resolve_model(run.settings.model)
    generator = local(name, adapters[GENERATOR]) if same else None
    return SummaryRun(name, loaded.summariser(cached=False), generator, batcher)


def _open_models(names: list[str], runs: Iterable[FinishedRun]) -> dict[str, Any]:
    """Open local models and the models of runs, by name or folder."""
    for run in runs:
        if run.method == RPO.name:
            names.append(str(run.path()))
        else:
            names += [run.settings.model, *map(str, answering_adapters(run.folder).values())]
    sharing: dict[str, dict[str, Path | None]] = {}
    for name in names:
        files = locate(resolve_model(name))
        sharing.setdefault(files.source, {})[name] = files.adapter
    opened: dict[str, Any] = {}
    for source, members in sharing.items():
        # PEFT's names of adapters may have no dots.
        numbered = {str(number): folder for number, folder in enumerate(members.values()) if folder}
        if len(members) == 1 or not numbered:
            opened |= dict.fromkeys(members, open_language_model(next(iter(members)), truncate=True))
            continue
        models = open_adapters(source, numbered)
        opened |= {
            name: models[str(number) if folder else BASE]
            for number, (name, folder) in enumerate(members.items())
        }
    return opened
