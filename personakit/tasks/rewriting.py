"""The rewriting task: rewrite a text in its user's style. Template and metrics are ours, not LaMP's.

ROUGE-L counts words in order, ROUGE-1 words, and edit similarity characters, so that small changes (a comma,
a capital letter) count, too. Compare them with a baseline that copies the original: a good rewrite keeps most
of it.
"""

from __future__ import annotations

from personakit.data import lamp_formats
from personakit.tasks.kinds import GenerationTask
from personakit.tasks.profile_prompt import ProfilePrompt

REWRITING = GenerationTask(
    name=lamp_formats.REWRITING,
    metrics=("rouge-L", "rouge-1", "edit-similarity", "exact"),
    primary="rouge-L",
    max_new_tokens=256,
    profile_prompt=ProfilePrompt(
        '"{revised}" is the rewriting of "{original}" ',
        "original",
        "{profile}. Following the given patterns {input}",
    ),
    one_line=False,
    gives_text=True,
    rewrites_input=True,
    reward_metrics=("rouge-L",),
)
