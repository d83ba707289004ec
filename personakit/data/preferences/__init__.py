"""Preference data: who preferred which of two answers, and what else is known of them (docs/data.md).

Start at `open_preferences`: it gives the users of a split, with their signals and held-out pairs.
"""

from personakit.data.preferences.detect import PREFERENCE_FORMATS, detect
from personakit.data.preferences.importing import PreferenceReport, import_preferences
from personakit.data.preferences.native import write_users
from personakit.data.preferences.store import PreferenceStore, open_preferences, preference_files

__all__ = [
    "PREFERENCE_FORMATS",
    "PreferenceReport",
    "PreferenceStore",
    "detect",
    "import_preferences",
    "open_preferences",
    "preference_files",
    "write_users",
]
