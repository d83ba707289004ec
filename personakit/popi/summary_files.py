"""Summary files, which users can read, edit and import: JSON or Markdown.

Markdown files start with metadata as `key: "text"` lines between two lines of `---`. A file without these
lines contains only a summary.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from personakit.errors import UserError
from personakit.files import write_json, write_text

SUFFIXES = (".json", ".md")
_FORMAT_HINT = "export a summary to see the format"
_HEAD = re.compile(r"---\n(?P<facts>.*?)\n?---\n(?P<summary>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class WrittenSummary:
    """A user's summary with its run and the fingerprint of the model that inferred it.

    `user_id`, `run` and `fingerprint` are "" if unknown.
    """

    summary: str
    user_id: str = ""
    run: str = ""
    fingerprint: str = ""


def check_place(path: Path) -> None:
    """Raise `UserError` for a file name with an unknown suffix."""
    if path.suffix not in SUFFIXES:
        raise UserError(
            f"{path}: expected a file name that ends with {' or '.join(SUFFIXES)}",
            hint=f"for example {path.stem or 'ada'}.md",
        )


def write_summary(path: Path, written: WrittenSummary) -> None:
    """Write a summary atomically, in the format of the file's suffix."""
    check_place(path)
    if path.suffix == ".json":
        write_json(path, asdict(written))
        return
    facts = {name: value for name, value in asdict(written).items() if name != "summary" and value}
    head = "".join(f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in facts.items())
    write_text(path, f"---\n{head}---\n\n{written.summary}\n")


def read_summary(path: Path) -> WrittenSummary:
    """Read a summary; raises `UserError` if the file is missing or malformed."""
    check_place(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(
            f"{path} does not exist, expected a summary file", hint="write one with --export FILE"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8", hint="save the file as UTF-8 text") from error
    found = _from_json(path, text) if path.suffix == ".json" else _from_markdown(path, text)
    for name, value in found.items():
        if not isinstance(value, str):
            raise UserError(
                f'{path}: "{name}" is {json.dumps(value)[:40]}, expected a text',
                hint=_FORMAT_HINT,
            )
    unknown = found.keys() - {"summary", "user_id", "run", "fingerprint"}
    if unknown:
        raise UserError(f'{path}: unknown field "{min(unknown)}"', hint=_FORMAT_HINT)
    if not found.get("summary", "").strip():
        raise UserError(f"{path}: the summary is empty", hint="describe the user in words")
    return WrittenSummary(**found | {"summary": found["summary"].strip()})


def _from_json(path: Path, text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}, line {error.lineno}: not valid JSON ({error.msg})", hint=_FORMAT_HINT
        ) from error
    if not isinstance(document, dict):
        raise UserError(f"{path}: expected a JSON object", hint=_FORMAT_HINT)
    return document


def _from_markdown(path: Path, text: str) -> dict[str, Any]:
    found = _HEAD.match(text)
    if found is None:
        return {"summary": text}
    facts: dict[str, Any] = {"summary": found["summary"]}
    for number, line in enumerate(found["facts"].splitlines(), start=2):
        name, _, value = line.partition(":")
        try:
            facts[name.strip()] = json.loads(value)
        except json.JSONDecodeError as error:
            raise UserError(
                f'{path}, line {number}: "{line[:40]}" is not of the form key: "text"',
                hint="put the summary below the second line of ---",
            ) from error
    return facts
