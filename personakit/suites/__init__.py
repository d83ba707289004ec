"""What can be evaluated: one file per suite, one line per suite here, one pipeline (`run.py`) for all.

Importing this package is cheap: suites import heavy packages inside their methods.
"""

from __future__ import annotations

from personakit.suites.base import Options, Suite
from personakit.suites.instruction import InstructionSuite
from personakit.suites.lamp import LampSuite
from personakit.suites.preference import PreferenceSuite
from personakit.suites.rewriting import RewritingSuite

SUITES: dict[str, Suite] = {
    suite.name: suite for suite in (LampSuite(), PreferenceSuite(), InstructionSuite(), RewritingSuite())
}

__all__ = ["SUITES", "Options", "Suite"]
