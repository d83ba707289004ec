"""Wording of an instruction and its selected prompts for the model.

Instructions use a template (`tasks.instructions`), queries of LaMP tasks LaMP's own wording with profile
items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from personakit.records import Context, Instruction, Pool, ProfileItem, Query
from personakit.tasks import get_task
from personakit.tasks.answers import extract_answer, own_texts
from personakit.tasks.instructions import Template, instruction_prompt, read_answer


class PromptWording(Protocol):
    """Builds prompts from an instruction and its selection, and parses answers."""

    @property
    def name(self) -> str:
        """Identifies the wording in cache keys of rewards."""
        ...

    def prompt(self, instruction: Instruction, selection: Sequence[Instruction]) -> str:
        """Return the prompt; the first selected prompt is next to the instruction."""
        ...

    def read(self, instruction: Instruction, text: str) -> str:
        """Parse the answer in a model's text."""
        ...


class Templated:
    """Words instructions with a template."""

    def __init__(self, template: Template) -> None:
        self._template = template

    @property
    def name(self) -> str:
        """The template's name."""
        return self._template

    def prompt(self, instruction: Instruction, selection: Sequence[Instruction]) -> str:
        """Return the filled-in template."""
        return instruction_prompt(
            self._template, instruction, Pool(tuple(selection), ""), range(len(selection))
        )

    def read(self, instruction: Instruction, text: str) -> str:
        """Return the answer, without text that the model generated after it."""
        return read_answer(self._template, text)


class LampWording:
    """Words queries of LaMP tasks with profile items as LaMP does.

    The instruction's id is the query's, and each selected prompt's id is an item's in that query's profile.
    """

    def __init__(
        self,
        queries: Mapping[str, Query],
        items: Mapping[tuple[str, str], ProfileItem],
        *,
        count_tokens: Callable[[str], int],
        max_length: int,
    ) -> None:
        """`items` are keyed by query id and item id; `max_length` is the prompt's limit in tokens."""
        self._queries, self._items = queries, items
        self._count_tokens, self._max_length = count_tokens, max_length

    @property
    def name(self) -> str:
        """LaMP's wording within a window."""
        return f"lamp, {self._max_length} tokens"

    def prompt(self, instruction: Instruction, selection: Sequence[Instruction]) -> str:
        """Return the query's prompt with the selected items."""
        query = self._queries[instruction.id]
        items = tuple(self._items[query.id, each.id] for each in selection)
        return get_task(query.task).prompt_with_context(
            query, Context(items), count_tokens=self._count_tokens, max_length=self._max_length
        )

    def read(self, instruction: Instruction, text: str) -> str:
        """Return the answer in the text (`tasks.answers`)."""
        query = self._queries[instruction.id]
        task = get_task(query.task)
        items = (item for (id, _), item in self._items.items() if id == query.id)  # read only where needed
        return extract_answer(text, task, own_texts(task, query, items))
