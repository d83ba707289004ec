"""Readers and writers of data: LaMP files, histories, reviews, rewrites, preferences, instructions.

Start with `open_examples`: it opens the examples of one task and split in any data folder.
"""

from personakit.data.folders import available, open_examples

__all__ = ["available", "open_examples"]
