"""`personakit config`: the shipped settings, and checks of your own."""

from __future__ import annotations

import json
from dataclasses import asdict
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


Name = Annotated[str, typer.Argument(help="A shipped config's name, or a file.")]
Method = Annotated[
    str | None,
    typer.Option("--method", help="Whose settings these are; by default read off the config's name."),
]

_DEFAULT = "rpo/lamp-mini"


@command(app, "list")
def list_configs() -> Result:
    """Name the shipped configs, and the files for `accelerate launch`."""
    from personakit.config import config_files, launch_files

    found = {
        name: path.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ")
        for name, path in sorted((config_files() | launch_files()).items())
    }
    return Result(
        [{"name": name, "about": about} for name, about in found.items()],
        lambda out: table(out, ("config", "what it is for"), found.items()),
    )


@command(app, "show")
def show(name: Name = _DEFAULT, overrides: Overrides = None, method: Method = None) -> Result:
    """Print a whole config, every key explained.

    Each key stands under its meaning, type, default and the default's provenance. The output is
    itself a config file.
    """
    from personakit.config import load, walk

    name, overrides = _settings_first(name, overrides)
    schema, path = _resolve(name, method)
    values = asdict(load(schema, path, overrides))
    known = list(walk(schema))
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
    name: Name = _DEFAULT,
    target: Annotated[
        Path | None, typer.Argument(help="The new file; by default the config's name in this folder.")
    ] = None,
) -> Result:
    """Copy a shipped config to a file of your own."""
    from personakit.config import find_config
    from personakit.files import write_text

    source = find_config(name, "rpo")
    target = target or Path(source.name)
    if target.is_dir():
        target = target / source.name
    if target.exists():
        raise UserError(f"{target}: exists already", hint="give another file name after the config's")
    write_text(target, source.read_text(encoding="utf-8"))
    return Result({"written": target}, lambda out: out.print(str(target)))


@command(app, "check")
def check(name: Name = _DEFAULT, overrides: Overrides = None, method: Method = None) -> Result:
    """Check a config and print what it resolves to.

    Unknown keys, wrong types and values out of bounds are errors.
    """
    from personakit.config import load, to_yaml

    name, overrides = _settings_first(name, overrides)
    schema, path = _resolve(name, method)
    config = load(schema, path, overrides)
    note(f"{path}: every key is known and every value fits")
    return Result(asdict(config), lambda out: out.print(to_yaml(config), end=""))


def _settings_first(name: str, overrides: list[str] | None) -> tuple[str, list[str]]:
    """Take a first word written KEY=VALUE for a setting of the default config, as `train` does."""
    if "=" in name and not Path(name).exists():
        return _DEFAULT, [name, *(overrides or [])]
    return name, overrides or []


def _resolve(name: str, method: str | None) -> tuple[type[Any], Path]:
    """The schema and file; a shipped config's folder names its method, and so may a file's folder."""
    from personakit.config import SCHEMAS, find_config

    path = find_config(name, method or "rpo")
    chosen = method or (path.parent.name if path.parent.name in SCHEMAS else "rpo")
    if chosen not in SCHEMAS:
        raise UserError(f"--method {chosen}: no such method", hint=f"there is {', '.join(SCHEMAS)}")
    return SCHEMAS[chosen], path


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
