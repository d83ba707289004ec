"""Readers and writers of what a user wrote: LaMP's files, histories, reviews, rewrites.

Start at `open_examples`: it gives the examples of a task's split, whatever folder they lie in.
"""

from personakit.data.folders import available, open_examples

__all__ = ["available", "open_examples"]
