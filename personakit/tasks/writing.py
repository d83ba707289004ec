"""The writing task: answer a message, or write what is asked for, as its user would. Ours, not LaMP's.

The prompt shows what the user wrote, not what they answered: a message can be longer than the answer to it.
"""

from __future__ import annotations

from personakit.data import lamp_formats
from personakit.tasks.kinds import GenerationTask
from personakit.tasks.profile_prompt import ProfilePrompt

WRITING = GenerationTask(
    name=lamp_formats.WRITING,
    metrics=("rouge-1", "rouge-L"),
    primary="rouge-1",
    max_new_tokens=256,
    profile_prompt=ProfilePrompt(
        '"{text}" ', "text", "{profile} are written by a person. Following the given patterns {input}"
    ),
    one_line=False,
)
