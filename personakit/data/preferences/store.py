"""A split of preference data as a lazy sequence of users."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, overload

import orjson

from personakit.data.folders import LAMP_MINI, data_folder
from personakit.data.json_stream import unreadable
from personakit.data.lamp_mini.facts import is_lamp_mini
from personakit.data.preferences import native
from personakit.data.preferences.divide import Key, key_of, text_key
from personakit.data.preferences.rows import (
    AMONG_SIGNALS,
    CONTRADICTING,
    IS_AN_ANSWER,
    NO_PAIRS,
    NO_SIGNALS,
    REPEATED,
    PreferenceRow,
    Skip,
    Skips,
    Texts,
)
from personakit.data.tables import Row
from personakit.errors import UserError
from personakit.records import PreferenceUser

_ORDER = {"train": 0, "dev": 1, "test": 2}


class UserLine(NamedTuple):
    """One line of a file: its number from 1, its offset in bytes, itself."""

    number: int
    offset: int
    text: bytes


class PreferenceStore(Sequence[PreferenceUser]):
    """The users of one split, read from disk as they are asked for; a slice is a store too.

    Opening reads the file once, from end to end: a line of the wrong shape is an error, and what cannot be
    used (`sift`) is left out and counted in `skipped`. `fingerprint` changes with the content and with the
    selection. `user_ids` and `pair_counts` (held-out pairs) run parallel to the users. `task` is the LaMP
    task whose inputs the prompts are the non-template part of (lamp-mini: LaMP_7), None where prompts are
    whole requests.
    """

    def __init__(self, path: Path, *, task: str | None = None) -> None:
        self.path = path
        self.task = task
        skips = Skips()
        digest = hashlib.sha256()
        self.user_ids: list[str] = []
        self.pair_counts: list[int] = []
        self._spans: list[tuple[int, int, int]] = []  # line, offset, size
        seen: dict[str, str] = {}
        for line in lines(path):
            digest.update(line.text)
            row = parse(path, line)
            first = seen.setdefault(row.user or "", row.place)
            if first is not row.place:
                raise UserError(
                    f'{row.place}: user "{row.user}" is also that of {first}, expected it once',
                    hint="give a user's pairs in one line, or import the file anew",
                )
            if sift(row, skips):
                self._spans.append((line.number, line.offset, len(line.text)))
                self.user_ids.append(row.user or "")
                self.pair_counts.append(len(row.pairs))
        if not self._spans:
            reasons = "; ".join(f"{skip.count} {reason}" for reason, skip in skips.report.items())
            raise UserError(
                f"{path} has no user whose preferences can be used ({reasons or 'it is empty'})",
                hint="`personakit data check` lists what is wrong with it",
            )
        self.skipped: Mapping[str, Skip] = skips.report
        self.fingerprint = digest.hexdigest()[:32]

    def __len__(self) -> int:
        return len(self._spans)

    @overload
    def __getitem__(self, index: int) -> PreferenceUser: ...
    @overload
    def __getitem__(self, index: slice) -> PreferenceStore: ...
    def __getitem__(self, index: int | slice) -> PreferenceUser | PreferenceStore:
        if isinstance(index, slice):
            return self.subset(range(*index.indices(len(self))))
        number, offset, size = self._spans[index]
        with self.path.open("rb") as file:
            file.seek(offset)
            row = parse(self.path, UserLine(number, offset, file.read(size)))
        sift(row, Skips())
        return native.user_of_row(row)

    def subset(self, which: int | Sequence[int]) -> PreferenceStore:
        """Return the first `which` users, or those at the given places, as a store."""
        places = range(min(which, len(self))) if isinstance(which, int) else which
        chosen = object.__new__(PreferenceStore)
        chosen.path, chosen.task, chosen.skipped = self.path, self.task, self.skipped
        chosen.user_ids = [self.user_ids[place] for place in places]
        chosen.pair_counts = [self.pair_counts[place] for place in places]
        chosen._spans = [self._spans[place] for place in places]
        named = json.dumps([line for line, _, _ in chosen._spans]).encode()
        chosen.fingerprint = hashlib.sha256(self.fingerprint.encode() + named).hexdigest()[:32]
        return chosen


def open_preferences(path: str | Path = LAMP_MINI, split: str = "dev") -> PreferenceStore:
    """Open one split of the preferences in a data folder, or of lamp-mini.

    Raises `UserError` where the folder or the split is not there, naming those that are.
    """
    folder = data_folder(path)
    files = preference_files(folder)
    if not files:
        raise UserError(
            f"{path} holds no preferences ({native.FOLDER}/*.jsonl)",
            hint="`personakit data import` makes them of AlignX's, FSPO's, SynthesizeMe's or TRL's files",
        )
    if split not in files:
        raise UserError(
            f'{path} has no preferences of the split "{split}", it holds {", ".join(files)}',
            hint="name one of these splits",
        )
    return PreferenceStore(files[split], task="LaMP_7" if is_lamp_mini(folder) else None)


def preference_files(folder: Path) -> dict[str, Path]:
    """Return the preference file of each split in a data folder, train before dev before test."""
    files = sorted(
        (folder / native.FOLDER).glob("*.jsonl"),
        key=lambda path: (_ORDER.get(path.stem, len(_ORDER)), path.stem),
    )
    return {path.stem: path for path in files}


def lines(path: Path) -> Iterator[UserLine]:
    """Yield the lines of a preference file that are not blank."""
    offset = 0
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, start=1):
                if text.strip():
                    yield UserLine(number, offset, text)
                offset += len(text)
    except OSError as error:
        raise unreadable(path, error) from error


def parse(path: Path, line: UserLine) -> PreferenceRow:
    """Return the user that a line describes; `UserError` where its shape is wrong."""
    place = f"{path}, line {line.number}"
    try:
        values = orjson.loads(line.text)
    except orjson.JSONDecodeError as error:
        raise UserError(
            f"{place}: not valid JSON ({error})", hint="a preference file has one JSON object a line"
        ) from error
    if not isinstance(values, dict) or not native.matches(values.keys()):
        raise UserError(
            f'{place} describes no user, expected an object with "user_id", "signals" and "pairs"',
            hint="`personakit data import` makes such files of other formats",
        )
    row = native.read(Row(place, values), Skips(), None)
    assert row is not None
    return row


def sift(row: PreferenceRow, skips: Skips) -> bool:
    """Take out of a divided row what cannot be used; False where no user is left.

    What goes: empty, equal, repeated and contradicting pairs; held-out pairs that share a prompt or an
    answer with a signal; comments and items that are a held-out answer.
    """
    signals = _sound(row.signal_pairs, row.place, skips)
    told = {text for key in signals for text in key}
    held = _sound(row.pairs, row.place, skips)
    apart = {key: texts for key, texts in held.items() if told.isdisjoint(key)}
    skips.add(AMONG_SIGNALS, row.place, len(held) - len(apart))
    row.signal_pairs, row.pairs = list(signals.values()), list(apart.values())
    answers = {text for key in apart for text in (key.chosen, key.rejected)}

    def free(*said: str) -> bool:
        return answers.isdisjoint(map(text_key, said))

    before = len(row.comments) + len(row.about) + len(row.items)
    row.comments = [each for each in row.comments if free(each)]
    row.about = [each for each in row.about if free(each)]
    row.items = [each for each in row.items if free(*each["fields"].values())]
    others = len(row.comments) + len(row.about) + len(row.items)
    skips.add(IS_AN_ANSWER, row.place, before - others)
    if row.pairs and not (row.signal_pairs or others):
        skips.add(NO_SIGNALS, row.place, len(row.pairs))
        return False
    if not row.pairs:
        skips.add(NO_PAIRS, row.place, len(row.signal_pairs))
    return bool(row.pairs)


def _sound(pairs: Sequence[Texts], place: str, skips: Skips) -> dict[Key, Texts]:
    kept: dict[Key, Texts] = {}
    for texts in pairs:
        fault = texts.fault()
        if fault is None:
            key = key_of(texts)
            if key not in kept and key.reversed not in kept:
                kept[key] = texts
                continue
            fault = REPEATED if key in kept else CONTRADICTING
        skips.add(fault, place)
    return kept
