"""The library: what `personakit` exports (test_plugins.py calls all of it on a toy method)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import personakit
from personakit.errors import UserError

ROOT = Path(__file__).parent.parent


def test_its_names_are_imported_when_used_and_typed() -> None:
    program = """
import sys, personakit
loaded = {name for name in sys.modules if name.startswith("personakit.")}
assert not loaded, loaded
for name in personakit.__all__:
    getattr(personakit, name)
assert set(personakit.__all__) <= set(dir(personakit))
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
    stub = ast.parse((ROOT / "personakit" / "__init__.pyi").read_text())
    typed = {alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert typed | {"__version__"} == set(personakit.__all__)
    assert (ROOT / "personakit" / "py.typed").is_file()
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        personakit.nothing  # noqa: B018


def test_wrong_names_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='unknown method "rop"'):
        personakit.train("rop")
    with pytest.raises(UserError, match='unknown suite "lampp"'):
        personakit.evaluate("lampp")
    with pytest.raises(UserError, match='"tsk" is not an option of "lamp"'):
        personakit.evaluate("lamp", tsk=["LaMP_7"])
    with pytest.raises(UserError, match="no such run"):
        personakit.open_run(tmp_path / "none")
