"""The seven LaMP tasks, and the old news categorisation (LaMP-2 before 2024-01).

Item templates: LaMP/prompts/prompts.py @ 38c9d4d; metrics and label lists: eval/evaluation.py. For free text,
`max_new_tokens` is upstream's 128; for labels, enough for the longest one.
"""

from __future__ import annotations

from personakit.data.lamp_formats import FORMATS
from personakit.tasks.base import Task
from personakit.tasks.kinds import GenerationTask, LabelTask, OrdinalTask
from personakit.tasks.profile_prompt import ProfilePrompt

_PATTERNS = "Following the given patterns {input}"
_TITLE_FOR_TEXT = ProfilePrompt('"{title}" is the title for "{text}" ', "text")


def _label_task(name: str, profile_prompt: ProfilePrompt) -> LabelTask:
    return LabelTask(
        name=name,
        metrics=("accuracy", "f1"),
        primary="accuracy",
        max_new_tokens=32,
        profile_prompt=profile_prompt,
        labels=FORMATS[name].labels,
    )


def _generation_task(
    name: str, profile_prompt: ProfilePrompt, *, one_line: bool = True, gives_text: bool = False
) -> GenerationTask:
    return GenerationTask(
        name=name,
        metrics=("rouge-1", "rouge-L"),
        primary="rouge-1",
        max_new_tokens=128,
        profile_prompt=profile_prompt,
        one_line=one_line,
        gives_text=gives_text,
    )


LAMP: tuple[Task, ...] = (
    _label_task(
        "LaMP_1",
        ProfilePrompt('"{title}"', "title", " {profile}{input}", inside_input_after="with the title"),
    ),
    _label_task("LaMP_2", ProfilePrompt('the tag for the movie: "{description}" is "{tag}" ', "description")),
    _label_task("LaMP_2N", ProfilePrompt('the category for the article: "{text}" is "{category}" ', "text")),
    OrdinalTask(
        name="LaMP_3",
        metrics=("MAE", "RMSE"),
        primary="MAE",
        max_new_tokens=8,
        profile_prompt=ProfilePrompt('{score} is the score for "{text}" ', "text"),
        labels=FORMATS["LaMP_3"].labels,
    ),
    _generation_task("LaMP_4", _TITLE_FOR_TEXT),
    _generation_task(
        "LaMP_5",
        ProfilePrompt('"{title}" is a title for "{abstract}" ', "abstract", "{profile}. " + _PATTERNS),
    ),
    _generation_task("LaMP_6", _TITLE_FOR_TEXT),
    _generation_task(
        "LaMP_7",
        ProfilePrompt('"{text}" ', "text", "{profile} are written by a person. " + _PATTERNS),
        one_line=False,
        gives_text=True,
    ),
)
