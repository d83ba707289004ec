"""The command line: a file for each command, which parses, calls and prints.

Nothing here imports torch, transformers, trl or anything slow before a command runs, so that every
`--help` answers at once.
"""

from __future__ import annotations

from personakit.cli.main import main

__all__ = ["main"]
