"""lamp-mini: the built-in benchmark, written by code from a seed (docs/data.md)."""

from personakit.data.lamp_mini.facts import is_lamp_mini, known_facts
from personakit.data.lamp_mini.generate import STANDARD_SEED, USERS, VERSION, folder, write_benchmark
from personakit.data.lamp_mini.traits import Knobs, parse_knobs

__all__ = [
    "STANDARD_SEED",
    "USERS",
    "VERSION",
    "Knobs",
    "folder",
    "is_lamp_mini",
    "known_facts",
    "parse_knobs",
    "write_benchmark",
]
