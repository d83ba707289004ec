"""LaMP's seven tasks: input templates, profile fields, labels, and the text that retrieval uses.

Source: LaMP-Benchmark/LaMP @ 38c9d4d (`data/`, `rank_profiles.py`, `eval/evaluation.py`) and the benchmark's
website. The old news task (LaMP-2 before 2024-01, here `LaMP_2N`) follows third-party reports. This project's
`rewriting` and `writing` tasks have the same structure.

Files write `LaMP_2` for both variants; `Query.task` is `LaMP_2` (movies) or `LaMP_2N` (news).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from string import Formatter
from types import MappingProxyType

from personakit.errors import UserError
from personakit.plugins import TASKS as PLUGIN_TASKS
from personakit.plugins import load_plugin, plugin_names
from personakit.records import ProfileItem

MOVIE_TAGS = (
    "sci-fi",
    "based on a book",
    "comedy",
    "action",
    "twist ending",
    "dystopia",
    "dark comedy",
    "classic",
    "psychology",
    "fantasy",
    "romance",
    "thought-provoking",
    "social commentary",
    "violence",
    "true story",
)
NEWS_CATEGORIES = (
    "women",
    "religion",
    "politics",
    "style & beauty",
    "entertainment",
    "culture & arts",
    "sports",
    "science & technology",
    "travel",
    "business",
    "crime",
    "education",
    "healthy living",
    "parents",
    "food & drink",
)
#: The tasks that are not LaMP's.
REWRITING, WRITING = "rewriting", "writing"
REFERENCES = ("[1]", "[2]")
SCORES = ("1", "2", "3", "4", "5")


@dataclass(frozen=True)
class TaskFormat:
    """The file format of one task.

    `template` is the input with `{part}` placeholders. `item_keys` are the fields of a profile item besides
    `id` and `date`. Retrieval reads `document_keys` of an item and `search_parts` of an input. `output_key`
    is the item field that the user produced (title, tag, score, text), `input_key` the field it was produced
    from (None if there is none). `labels` is empty for generation tasks. An item need not have the fields
    `may_be_empty`.
    """

    task: str
    file_task: str
    template: str
    item_keys: tuple[str, ...]
    document_keys: tuple[str, ...]
    search_parts: tuple[str, ...]
    output_key: str
    input_key: str | None
    labels: tuple[str, ...] = ()
    fixed_parts: tuple[tuple[str, str], ...] = ()
    date_in_document: bool = False
    may_be_empty: tuple[str, ...] = ()

    @cached_property
    def pieces(self) -> tuple[tuple[str, str | None], ...]:
        """The template as (literal, name of the following part or None) pairs."""
        return tuple((literal, name) for literal, name, _, _ in Formatter().parse(self.template))

    @property
    def prefix(self) -> str:
        """The literal with which every input of this task begins. It is unique to the task."""
        return self.pieces[0][0]


_ALL = (
    TaskFormat(
        task="LaMP_1",
        file_task="LaMP_1",
        template='For an author who has written the paper with the title "{title}", which reference is '
        'related? Just answer with [1] or [2] without explanation. [1]: "{ref1}" [2]: "{ref2}"',
        item_keys=("title", "abstract"),
        document_keys=("title", "abstract"),
        search_parts=("ref1", "ref2"),
        output_key="title",
        input_key="abstract",
        labels=REFERENCES,
    ),
    TaskFormat(
        task="LaMP_2",
        file_task="LaMP_2",
        template="Which tag does this movie relate to among the following tags? Just answer with the tag "
        "name without further explanation. tags: [{tags}] description: {description}",
        item_keys=("tag", "description"),
        document_keys=("description",),
        search_parts=("description",),
        output_key="tag",
        input_key="description",
        labels=MOVIE_TAGS,
        fixed_parts=(("tags", ", ".join(MOVIE_TAGS)),),
    ),
    TaskFormat(
        task="LaMP_2N",
        file_task="LaMP_2",
        template="Which category does this article relate to among the following categories? Just answer "
        "with the category name without further explanation. categories: [{categories}] article: {text}",
        item_keys=("title", "text", "category"),
        document_keys=("title", "text"),
        search_parts=("text",),
        output_key="category",
        input_key="text",
        labels=NEWS_CATEGORIES,
        fixed_parts=(("categories", ", ".join(NEWS_CATEGORIES)),),
    ),
    TaskFormat(
        task="LaMP_3",
        file_task="LaMP_3",
        template="What is the score of the following review on a scale of 1 to 5? just answer with 1, 2, 3, "
        "4, or 5 without further explanation. review: {text}",
        item_keys=("text", "score"),
        document_keys=("text",),
        search_parts=("text",),
        output_key="score",
        input_key="text",
        labels=SCORES,
        date_in_document=True,
    ),
    TaskFormat(
        task="LaMP_4",
        file_task="LaMP_4",
        template="Generate a headline for the following article: {text}",
        item_keys=("title", "text"),
        document_keys=("title", "text"),
        search_parts=("text",),
        output_key="title",
        input_key="text",
    ),
    TaskFormat(
        task="LaMP_5",
        file_task="LaMP_5",
        template="Generate a title for the following abstract of a paper: {abstract}",
        item_keys=("title", "abstract"),
        document_keys=("title", "abstract"),
        search_parts=("abstract",),
        output_key="title",
        input_key="abstract",
    ),
    TaskFormat(
        task="LaMP_6",
        file_task="LaMP_6",
        template="Generate a subject for the following email: {text}",
        item_keys=("title", "text"),
        document_keys=("text",),
        search_parts=("text",),
        output_key="title",
        input_key="text",
        date_in_document=True,
    ),
    TaskFormat(
        task="LaMP_7",
        file_task="LaMP_7",
        template="Paraphrase the following tweet without any explanation before or after it: {text}",
        item_keys=("text",),
        document_keys=("text",),
        search_parts=("text",),
        output_key="text",
        input_key=None,
        date_in_document=True,
    ),
    TaskFormat(
        task=REWRITING,
        file_task=REWRITING,
        template="Rewrite the following text in the way of its user: {original}",
        item_keys=("original", "revised"),
        document_keys=("original",),
        search_parts=("original",),
        output_key="revised",
        input_key="original",
    ),
    TaskFormat(
        task=WRITING,
        file_task=WRITING,
        template="Answer the following in the way of its user: {request}",
        item_keys=("request", "text"),
        document_keys=("request", "text"),
        search_parts=("request",),
        output_key="text",
        input_key="request",
        may_be_empty=("request",),
    ),
)
FORMATS: Mapping[str, TaskFormat] = MappingProxyType({format.task: format for format in _ALL})
LAMP_TASKS = tuple(f"LaMP_{number}" for number in range(1, 8))


def task_format(task: str) -> TaskFormat:
    """Return the format of `task`, spelled `LaMP_3`, `LaMP-3` or `lamp_3`.

    Raises `UserError` for an unknown task.
    """
    if task in FORMATS:
        return FORMATS[task]
    folded = {name.casefold(): name for name in FORMATS}
    wanted = task.casefold().replace("-", "_")
    if wanted in folded:
        return FORMATS[folded[wanted]]
    plugin = load_plugin(PLUGIN_TASKS, task)
    if plugin is not None:
        form: TaskFormat = plugin.format
        return form
    near = difflib.get_close_matches(wanted, folded, n=1)
    raise UserError(
        f'unknown task "{task}", expected one of {", ".join((*FORMATS, *plugin_names(PLUGIN_TASKS)))}',
        hint=f"did you mean {folded[near[0]]}?" if near else "choose one of these tasks",
    )


def recognise_task(text: str) -> str | None:
    """Return the task whose template `text` starts with, or None."""
    for format in _ALL:
        if text.startswith(format.prefix):
            return format.task
    for name in plugin_names(PLUGIN_TASKS):
        if text.startswith(task_format(name).prefix):
            return name
    return None


def build_input(task: str, **parts: str) -> str:
    """Return the input of `task`, built from its parts.

    Parts: title, ref1, ref2 (LaMP_1); description (LaMP_2); abstract (LaMP_5); original (rewriting); request
    (writing); text (all others).
    """
    fixed = task_format(task)
    return fixed.template.format(**{**dict(fixed.fixed_parts), **parts})


def parse_input(task: str, text: str) -> dict[str, str]:
    """Return the parts of an input: the inverse of `build_input`.

    Raises `ValueError` if `text` does not follow the template. The order of LaMP_2's tags is not checked.
    """
    parts: dict[str, str] = {}
    pieces = task_format(task).pieces
    position = 0
    name: str | None = None
    for index, (literal, next_name) in enumerate(pieces):
        last = index == len(pieces) - 1 and next_name is None
        match_start = len(text) - len(literal) if last else text.find(literal, position)
        if (
            match_start < position
            or not text.startswith(literal, match_start)
            or (name is None and match_start != 0)
        ):
            raise ValueError(f'"{literal}" is missing')
        if name is not None:
            parts[name] = text[position:match_start]
        position, name = match_start + len(literal), next_name
    if name is not None:
        parts[name] = text[position:]
    return parts


def search_text(task: str, text: str) -> str:
    """Return the non-template part of an input, the query of retrieval.

    For LaMP_1 these are both references (`ref1 ref2`), not the author's title (`rank_profiles.py`).
    """
    parts = parse_input(task, text)
    return " ".join(parts[name] for name in task_format(task).search_parts).strip()


def document(task: str, fields: Mapping[str, str], date: str | None = None) -> str:
    """Return the text of an item that retrieval indexes. LaMP_3, 6 and 7 append ` date: {date}` if dated."""
    wanted = task_format(task)
    text = " ".join(fields[key] for key in wanted.document_keys)
    return f"{text} date: {date}" if date is not None and wanted.date_in_document else text


def profile_item(task: str, id: str, fields: Mapping[str, str], date: str | None = None) -> ProfileItem:
    """Return a `ProfileItem` of `task`, with `document` filled in."""
    return ProfileItem(id=id, fields=fields, document=document(task, fields, date), date=date)


def item_output(task: str, item: ProfileItem) -> str:
    """Return the field that the user produced: a title, tag, category, score or text."""
    return item.fields[task_format(task).output_key]


def item_input(task: str, item: ProfileItem) -> str | None:
    """Return the field it was produced from, or None if the task has none (LaMP_7)."""
    key = task_format(task).input_key
    return None if key is None else item.fields[key]
