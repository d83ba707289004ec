"""`personakit config`: lists, shows, copies and checks settings files."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personakit.cli.command import command, group
from personakit.cli.options import Overrides
from personakit.cli.output import Result, note, table
from personakit.errors import UserError

if TYPE_CHECKING:
    from personakit.config import Setting

app = group("config", "List, show, copy and check settings files.")


def register(root: typer.Typer) -> None:
    """Add the group to `root`."""
    root.add_typer(app)


Name = Annotated[
    str | None,
    typer.Argument(help="A shipped config's name, a method's name (its default), or a file; by default rpo."),
]
Method = Annotated[
    str | None,
    typer.Option("--method", help="The settings' method; by default the one in the config's name."),
]


@command(app, "list")
def list_configs() -> Result:
    """List the shipped configs and the files for `accelerate launch`."""
    from personakit.config import config_files, launch_files
    from personakit.config.training import DEFAULT_MODEL
    from personakit.methods.table import METHODS

    found = {
        name: path.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ")
        for name, path in sorted((config_files() | launch_files()).items())
    }
    without = [name for name in METHODS if f"{name}/{DEFAULT_MODEL}" not in found]
    found |= dict.fromkeys(without, "the defaults of an installed method")
    return Result(
        [{"name": name, "about": about} for name, about in found.items()],
        lambda out: table(out, ("config", "description"), found.items()),
    )


@command(app, "show")
def show(name: Name = None, overrides: Overrides = None, method: Method = None) -> Result:
    """Print all keys of a config with explanations.

    A comment above each key gives its meaning, type, default, and the default's provenance. The output is a
    valid config file. Settings that were not given are those chosen for the size of the model.
    """
    from personakit.config import walk
    from personakit.config.model_size import in_words
    from personakit.methods.model_size import load_fitted

    schema, path, overrides = _chosen(name, overrides, method)
    settings, fitted = load_fitted(schema, path, overrides)
    values = asdict(settings)
    known = [
        one
        if fitted is None or one.key not in fitted.chosen
        else replace(
            one,
            provenance=f"chosen for {in_words(fitted.size.parameters)} parameters, "
            f"{fitted.chosen[one.key].provenance}",
        )
        for one in walk(schema)
    ]
    if fitted is not None:
        note(str(fitted))
    document = [
        {
            "key": one.key,
            "value": _value(values, one.key),
            "default": one.default,
            "type": one.type,
            "provenance": one.provenance,
            "help": one.help,
        }
        for one in known
    ]
    return Result(document, lambda out: out.print(_commented(known, values)))


@command(app, "copy")
def copy(
    name: Name = None,
    target: Annotated[
        Path | None, typer.Argument(help="The new file; by default the config's name in this folder.")
    ] = None,
) -> Result:
    """Copy a shipped config to a new file."""
    from personakit.config import load, to_yaml
    from personakit.files import write_text

    schema, source, *_ = _chosen(name, None, None)
    file_name = f"{name}.yaml" if source is None else source.name
    target = target or Path(file_name)
    if target.is_dir():
        target = target / file_name
    if target.exists():
        raise UserError(f"{target}: exists already", hint="give another file name after the config's")
    write_text(target, to_yaml(load(schema)) if source is None else source.read_text(encoding="utf-8"))
    return Result({"written": target}, lambda out: out.print(str(target)))


@command(app, "check")
def check(name: Name = None, overrides: Overrides = None, method: Method = None) -> Result:
    """Check a config and print the resolved settings.

    Unknown keys, wrong types and values out of bounds are errors.
    """
    from personakit.config import to_yaml
    from personakit.methods.model_size import load_fitted

    schema, path, overrides = _chosen(name, overrides, method)
    config, fitted = load_fitted(schema, path, overrides)
    if fitted is not None:
        note(str(fitted))
    note(f"{path or name}: all keys are known and all values valid")
    return Result(asdict(config), lambda out: out.print(to_yaml(config), end=""))


def _chosen(
    name: str | None, overrides: list[str] | None, method: str | None
) -> tuple[type[Any], Path | None, list[str]]:
    """Return the settings' class, the file (None: the defaults) and the overrides.

    If the first argument is KEY=VALUE, it overrides the default config, as in `train`. The method is the name
    of the config's folder.
    """
    from personakit.config import find_config
    from personakit.methods.table import METHODS, find_method
    from personakit.methods.training import default_config

    overrides, default = overrides or [], next(iter(METHODS))
    if name is not None and "=" in name and not Path(name).exists():
        overrides = [name, *overrides]
        name = None
    if name is None or (name in METHODS and not Path(name).is_file()):
        found = find_method(method or name or default)
        return found.settings, default_config(found, overrides), overrides
    path = find_config(name, method or default)
    named = path.parent.name if path.parent.name in METHODS else default
    return find_method(method or named).settings, path, overrides


def _value(values: dict[str, Any], key: str) -> Any:
    for name in key.split("."):
        values = values[name]
    return values


def _commented(settings: list[Setting], values: dict[str, Any]) -> str:
    """YAML with a comment above each key."""
    lines: list[str] = []
    open_groups: list[str] = []
    for one in settings:
        *groups, name = one.key.split(".")
        if groups != open_groups:
            pairs = zip(groups, open_groups, strict=False)
            kept = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            lines += [] if kept else [""]
            lines += [f"{'  ' * depth}{groups[depth]}:" for depth in range(kept, len(groups))]
            open_groups = groups
        margin = "  " * len(groups)
        default = json.dumps(one.default)
        lines.append(f"{margin}# {one.help} [{one.type}, default {default}, {one.provenance}]")
        lines.append(f"{margin}{name}: {json.dumps(_value(values, one.key))}")
    return "\n".join(lines)
