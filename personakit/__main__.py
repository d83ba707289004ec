"""`python -m personakit`: the same as `personakit`."""

from __future__ import annotations

import sys

from personakit.cli import main

if __name__ == "__main__":
    sys.exit(main())
