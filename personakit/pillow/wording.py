"""How an instruction and the prompts picked for it are put to the model.

Instructions are worded by a template (`tasks.instructions`), queries of a LaMP task as LaMP words them with
items of the user's profile in the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from personakit.records import Context, Instruction, Pool, ProfileItem, Query
from personakit.tasks import get_task
from personakit.tasks.instructions import Template, instruction_prompt, read_answer


class PromptWording(Protocol):
    """From an instruction and its picks, first pick first, to a prompt; from a model's text to its answer."""

    @property
    def name(self) -> str:
        """What a reward is known by beside texts: all that decides the wording."""
        ...

    def prompt(self, instruction: Instruction, picks: Sequence[Instruction]) -> str:
        """Return the prompt; the first pick stands next to the instruction."""
        ...

    def read(self, instruction: Instruction, text: str) -> str:
        """Return the answer in a model's text."""
        ...


class Templated:
    """Instructions of a data folder, by a template's name."""

    def __init__(self, template: Template) -> None:
        self._template = template

    @property
    def name(self) -> str:
        """The template's."""
        return self._template

    def prompt(self, instruction: Instruction, picks: Sequence[Instruction]) -> str:
        """Return the template filled in."""
        return instruction_prompt(self._template, instruction, Pool(tuple(picks), ""), range(len(picks)))

    def read(self, instruction: Instruction, text: str) -> str:
        """Return the answer, without what the model went on to make up."""
        return read_answer(self._template, text)


class LampWording:
    """Queries of LaMP's tasks, the items of their users' profiles as LaMP puts them in the prompt.

    Known by id: the query's is the instruction's, and each item's the prompt's, within the query's profile.
    """

    def __init__(
        self,
        queries: Mapping[str, Query],
        items: Mapping[tuple[str, str], ProfileItem],
        *,
        count_tokens: Callable[[str], int],
        max_length: int,
    ) -> None:
        """Take `items` by the query's id and the item's own; `max_length` is LaMP's window, in tokens."""
        self._queries, self._items = queries, items
        self._count_tokens, self._max_length = count_tokens, max_length

    @property
    def name(self) -> str:
        """LaMP's wording within a window."""
        return f"lamp, {self._max_length} tokens"

    def prompt(self, instruction: Instruction, picks: Sequence[Instruction]) -> str:
        """Return the query with the picked items in it."""
        query = self._queries[instruction.id]
        items = tuple(self._items[query.id, each.id] for each in picks)
        return get_task(query.task).prompt_with_context(
            query, Context(items), count_tokens=self._count_tokens, max_length=self._max_length
        )

    def read(self, instruction: Instruction, text: str) -> str:
        """Return the answer as the task reads it, or the text as it is."""
        return get_task(self._queries[instruction.id].task).parse(text) or text.strip()
