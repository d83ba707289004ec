"""Chooses whose texts of a source are read: `--me`, or the only writer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from personakit.data.own.records import IsMe, Person
from personakit.errors import UserError

_LISTED = 8


class Writers:
    """The writers of a source with the number of their texts; those with one id are one writer."""

    def __init__(self, source: Path, writers: Iterable[Person]) -> None:
        self._source = source
        names: dict[str, Counter[str]] = {}
        for writer in writers:
            names.setdefault(writer.id, Counter())[writer.name] += 1
        self.counts = {
            Person(id, max(found, key=lambda name: (bool(name), found[name]))): sum(found.values())
            for id, found in sorted(names.items(), key=lambda each: -sum(each[1].values()))
        }

    def choose(self, me: Sequence[str], owner: Person | None) -> list[Person]:
        """Return the writers that `me` names; without it, the source's owner or only writer.

        A value of `me` is an id or a name, in any case, or a part of one, and fits one writer only: two
        people may have one name. Raises `UserError` with the writers where it fits none or several, or where
        there are several and no `me`.
        """
        if not self.counts:
            raise UserError(
                f"{self._source} has no text with a writer, expected at least one",
                hint="it may be empty, or of another format: look into it, or export it again",
            )
        if me:
            return list(dict.fromkeys(writer for value in me for writer in self._named(value)))
        if owner is not None and owner.id in {writer.id for writer in self.counts}:
            return [writer for writer in self.counts if writer.id == owner.id]
        if len(self.counts) > 1:
            raise UserError(
                f"{self._source} has texts of {len(self.counts)} writers ({self._listed(self.counts)}), "
                "and --me was not given",
                hint=f'say who you are, for example --me "{next(iter(self.counts)).id}"; repeat it for '
                "several addresses of one person",
            )
        return list(self.counts)

    def _named(self, value: str) -> list[Person]:
        wanted = value.strip().casefold()
        found = [each for each in self.counts if wanted == each.id.casefold()]
        found = found or [each for each in self.counts if wanted == each.name.casefold()]
        found = found or [each for each in self.counts if wanted and wanted in each.label.casefold()]
        if not found:
            raise UserError(
                f'{self._source} has no text by "{value}", it has {self._listed(self.counts)}',
                hint="give one of these to --me",
            )
        if len(found) > 1:
            raise UserError(
                f'{self._source}: "{value}" fits {len(found)} writers, {self._listed(found)}',
                hint=f'give an id, such as --me "{found[0].id}"; repeat it for several ids of one person',
            )
        return found

    def _listed(self, writers: Iterable[Person]) -> str:
        some = [f"{writer.label} {self.counts[writer]}" for writer in writers]
        more = f", and {len(some) - _LISTED} more" if len(some) > _LISTED else ""
        return ", ".join(some[:_LISTED]) + more


def one_of(writers: Sequence[Person]) -> IsMe:
    """Return the test whether somebody is one of `writers`."""
    ids = {writer.id for writer in writers}
    return lambda writer: writer.id in ids
