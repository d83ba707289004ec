"""`personakit` and `python -m personakit`."""

from __future__ import annotations

import sys

from personakit.training.allocator import restart_tuned


def main() -> int:
    """Run the command line, in a process with a tuned allocator if the command computes."""
    restart_tuned(sys.argv[1:])
    from personakit.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
