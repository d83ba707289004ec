"""A summary as a file: JSON for programs, Markdown for people. It may be read, edited, carried elsewhere.

The Markdown begins with what is known of the summary, between two lines of `---`, as `key: "text"`; a file
without these lines is a summary alone.
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
_HEAD = re.compile(r"---\n(?P<facts>.*?)\n?---\n(?P<summary>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class WrittenSummary:
    """A user's summary and where it is from: the run, and the fingerprint of the model that inferred it.

    Who it is about and where it is from are "" where nobody said.
    """

    summary: str
    user_id: str = ""
    run: str = ""
    fingerprint: str = ""


def check_place(path: Path) -> None:
    """Raise `UserError` for a file whose name does not say how it is written."""
    if path.suffix not in SUFFIXES:
        raise UserError(
            f"{path}: a summary is kept as {' or '.join(SUFFIXES)}",
            hint=f"for example {path.stem or 'ada'}.md",
        )


def write_summary(path: Path, written: WrittenSummary) -> None:
    """Write a summary as its suffix says, whole or not at all."""
    check_place(path)
    if path.suffix == ".json":
        write_json(path, asdict(written))
        return
    facts = {name: value for name, value in asdict(written).items() if name != "summary" and value}
    head = "".join(f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in facts.items())
    write_text(path, f"---\n{head}---\n\n{written.summary}\n")


def read_summary(path: Path) -> WrittenSummary:
    """Read a summary; raises `UserError` where the file is none."""
    check_place(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(
            f"{path} does not exist, expected a summary", hint="--export FILE writes one"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8", hint="save the file as UTF-8 text") from error
    found = _from_json(path, text) if path.suffix == ".json" else _from_markdown(path, text)
    for name, value in found.items():
        if not isinstance(value, str):
            raise UserError(
                f'{path}: "{name}" is {json.dumps(value)[:40]}, expected a text',
                hint="export a summary to see the form",
            )
    unknown = found.keys() - {"summary", "user_id", "run", "fingerprint"}
    if unknown:
        raise UserError(f'{path}: unknown field "{min(unknown)}"', hint="export a summary to see the form")
    if not found.get("summary", "").strip():
        raise UserError(f"{path}: the summary is empty", hint="say in words what is known of the user")
    return WrittenSummary(**found | {"summary": found["summary"].strip()})


def _from_json(path: Path, text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}, line {error.lineno}: not valid JSON ({error.msg})",
            hint="export a summary to see the form",
        ) from error
    if not isinstance(document, dict):
        raise UserError(f"{path}: no JSON object", hint="export a summary to see the form")
    return document


def _from_markdown(path: Path, text: str) -> dict[str, Any]:
    found = _HEAD.match(text)
    if found is None:
        return {"summary": text}
    facts: dict[str, Any] = {"summary": found["summary"]}
    for number, line in enumerate(found["facts"].splitlines(), start=2):
        name, colon, value = line.partition(":")
        try:
            facts[name.strip()] = json.loads(value)
        except json.JSONDecodeError as error:
            raise UserError(
                f'{path}, line {number}: "{line[:40]}" is not of the form key: "text"',
                hint="the summary stands below the second line of ---",
            ) from error
        del colon
    return facts
