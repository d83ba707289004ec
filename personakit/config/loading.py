"""Finds config files, merges them with `key=value` overrides onto a schema, and checks the result.

OmegaConf checks keys and types (and reads `1e-5` as a number); this file turns its exceptions into errors
that name the file and the key.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from personakit.config.renamed import flat, refuse_old_keys, upgraded
from personakit.config.schema import check_bounds, walk
from personakit.errors import UserError

Schema = TypeVar("Schema")

_LAUNCH = "accelerate/"
_SHOW = "personakit config show prints every key with its type and default"


def config_folder() -> Path:
    """Return the folder of the shipped configs: next to the package in a checkout, inside it in a wheel."""
    package = Path(__file__).parent.parent
    for folder in (package / "_configs", package.parent / "configs"):
        if folder.is_dir():
            return folder
    raise UserError(f"{package}: the shipped configs are missing", hint="install personakit again")


def config_files() -> dict[str, Path]:
    """Return the shipped configs by name, such as `rpo/smollm2`."""
    return {name: path for name, path in _shipped().items() if not name.startswith(_LAUNCH)}


def launch_files() -> dict[str, Path]:
    """Return the files for `accelerate launch` by name, such as `accelerate/ddp` (docs/scale.md)."""
    return {name: path for name, path in _shipped().items() if name.startswith(_LAUNCH)}


def _shipped() -> dict[str, Path]:
    folder = config_folder()
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.yaml"))
    }


def find_config(name: str, method: str | None = None) -> Path:
    """Return the file of a shipped name (`rpo/smollm2`, or `lamp-mini` with a method) or of a path.

    Raises:
        UserError: neither exists; the hint gives the closest shipped name.
    """
    shipped = config_files()
    if name in (files := launch_files()):
        return files[name]
    for candidate in (name, f"{method}/{name}"):
        if candidate in shipped:
            return shipped[candidate]
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise UserError(f"{name}: a folder, expected a YAML file", hint="give the file inside it")
    known = [known for known in shipped if method is None or known.startswith(f"{method}/")]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    raise UserError(f"{name}: no such config file, and no shipped config of that name", hint=hint)


def load(schema: type[Schema], path: Path | None = None, overrides: Sequence[str] = ()) -> Schema:
    """Merge defaults, the YAML file and `key=value` overrides, in this order, and check the result.

    Raises:
        UserError: an unknown key, a wrong type, a value out of bounds, or a file that is not YAML; the
        message
            names the file (or the override), the key, the value and what was expected.
    """
    from omegaconf import OmegaConf

    merged = OmegaConf.structured(schema)
    if path is not None:
        merged = _merge(schema, merged, _read_yaml(path), place=str(path))
    return _override(schema, merged, overrides)


def _override(schema: type[Schema], config: Any, overrides: Sequence[str]) -> Schema:
    from omegaconf import OmegaConf

    merged = OmegaConf.structured(config)
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals or not key:
            raise UserError(
                f"{override!r}: expected an override of the form key=value",
                hint="for example sft.learning_rate=1e-4; options start with --",
            )
        merged = _merge(schema, merged, _parse_override(override), place=override)
    return cast(Schema, OmegaConf.to_object(merged))


def given_keys(path: Path | None, overrides: Sequence[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the dotted keys that the YAML file sets, and those that the overrides set."""
    from omegaconf import OmegaConf

    def keys(given: Any) -> frozenset[str]:
        return frozenset(flat(cast(Mapping[str, Any], OmegaConf.to_container(given))))

    of_file = keys(_mapping(_read_yaml(path), place=str(path))) if path is not None else frozenset()
    return of_file, frozenset[str]().union(*(keys(_parse_override(each)) for each in overrides))


def load_saved(schema: type[Schema], path: Path, overrides: Sequence[str] = ()) -> Schema:
    """Load the `config.yaml` of a saved run like `load`, with the keys of earlier versions upgraded."""
    from omegaconf import OmegaConf

    saved = cast(Mapping[str, Any], OmegaConf.to_container(_mapping(_read_yaml(path), place=str(path))))
    return _override(schema, complete(schema, saved, place=str(path)), overrides)


def complete(schema: type[Schema], saved: Mapping[str, Any], *, place: str) -> Schema:
    """Return a saved run's settings under the current names, with defaults for new keys."""
    from omegaconf import OmegaConf

    defaults = OmegaConf.structured(schema)
    merged = _merge(schema, defaults, OmegaConf.create(upgraded(schema, saved)), place=place)
    return cast(Schema, OmegaConf.to_object(merged))


def to_yaml(config: Any) -> str:
    """Return the resolved settings as YAML, the format of a run's `config.yaml`."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.structured(config))


def _read_yaml(path: Path) -> Any:
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return OmegaConf.create(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such file", hint="personakit config list lists the shipped ones"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, byte {error.start}: not UTF-8", hint="save the file as UTF-8 text"
        ) from error
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{path}{line}: not YAML: {error.problem}", hint="check the indentation") from error
    except yaml.YAMLError as error:
        problem = str(error).splitlines()[0]
        raise UserError(f"{path}: not YAML: {problem}", hint="check that it is a text file") from error
    except OmegaConfBaseException as error:
        problem = str(error).splitlines()[0]
        raise UserError(f"{path}: {problem}", hint="${key} refers to another key") from error


def _parse_override(override: str) -> Any:
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return OmegaConf.from_dotlist([override])
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(
            f"{override!r}: the value is not YAML", hint="close its brackets and quotes"
        ) from error


def _mapping(added: Any, *, place: str) -> Any:
    from omegaconf import DictConfig

    if not isinstance(added, DictConfig):
        raise UserError(f"{place}: a list or a single value, expected `key: value` lines", hint=_SHOW)
    return added


def _merge(schema: type[Any], base: Any, added: Any, *, place: str) -> Any:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    given = cast(Mapping[str, Any], OmegaConf.to_container(_mapping(added, place=place)))
    refuse_old_keys(schema, given, place=place)
    try:
        merged = OmegaConf.merge(base, added)
        settings = OmegaConf.to_object(
            merged
        )  # resolves ${...}, so that an unknown reference is reported with its file
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None)
        sentence = str(error).splitlines()[0].rstrip(".")
        expected = next((f", expected {known.type}" for known in walk(schema) if known.key == key), "")
        if "expected" in sentence:
            expected = ""
        named = f", {key}" if key and not place.startswith(f"{key}=") else ""
        raise UserError(f"{place}{named}: {sentence}{expected}", hint=_SHOW) from error
    check_bounds(settings, place=place)
    return merged
