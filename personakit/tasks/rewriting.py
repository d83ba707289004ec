"""Rewriting: a text in, the same text in its user's way out. Not LaMP's; wording and metrics are ours.

ROUGE-L counts the words kept in their order, ROUGE-1 the words, edit similarity the characters, so
that small touches (a comma, a capital) show too. All of them must be read beside a row that copies
the original: a good rewrite keeps most of it.
"""

from __future__ import annotations

from personakit.tasks.kinds import GenerationTask
from personakit.tasks.profile_prompt import ProfilePrompt

REWRITING = GenerationTask(
    name="rewriting",
    metrics=("rouge-L", "rouge-1", "edit-similarity", "exact"),
    primary="rouge-L",
    max_new_tokens=256,
    profile_prompt=ProfilePrompt(
        '"{revised}" is the rewriting of "{original}" ',
        "original",
        "{profile}. Following the given patterns {input}",
    ),
    one_line=False,
    reward_metrics=("rouge-L",),
)
