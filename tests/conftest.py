"""Settings for all tests."""

from __future__ import annotations

import os

# Output into a pipe is as wide as its rows, but COLUMNS, which parallel pytest sets, would fold it.
os.environ.pop("COLUMNS", None)
