"""A split of preference data as a lazy sequence of users."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, overload

from personakit.data.folders import LAMP_MINI, data_folder
from personakit.data.json_rows import parse as json_line
from personakit.data.json_stream import unreadable
from personakit.data.lamp_mini.facts import is_lamp_mini
from personakit.data.missing import without_missing
from personakit.data.preferences import native
from personakit.data.preferences.rows import (
    AMONG_SIGNALS,
    CONTRADICTING,
    IS_AN_ANSWER,
    NO_PAIRS,
    NO_SIGNALS,
    REPEATED,
    PairTexts,
    PreferenceRow,
)
from personakit.data.preferences.signal_split import PairKey, pair_key, text_key
from personakit.data.skips import SkipCount, SkipCounts
from personakit.data.tables import TableRow
from personakit.errors import UserError
from personakit.records import PreferenceUser

_ORDER = {"train": 0, "dev": 1, "test": 2}


class UserLine(NamedTuple):
    """One line of a file: line number (from 1), byte offset, content."""

    number: int
    offset: int
    text: bytes


class PreferenceStore(Sequence[PreferenceUser]):
    """The users of one split, read from disk on access. A slice is a store, too.

    Opening reads the whole file once: an invalid line is an error, and unusable data (`sift`) is skipped and
    counted in `skipped`. `fingerprint` depends on content and selection. `user_ids` and `pair_counts`
    (held-out pairs) have one entry per user. `task` is the LaMP task to whose inputs the prompts belong,
    without the template (lamp-mini: LaMP_7), or None if prompts are complete requests.
    """

    def __init__(self, path: Path, *, task: str | None = None) -> None:
        self.path = path
        self.task = task
        skips = SkipCounts()
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
                    f'{row.place}: user "{row.user}" already has {first}, expected one line per user',
                    hint="merge the user's lines, or import the file again",
                )
            if remove_unusable(row, skips):
                self._spans.append((line.number, line.offset, len(line.text)))
                self.user_ids.append(row.user or "")
                self.pair_counts.append(len(row.pairs))
        if not self._spans:
            reasons = "; ".join(f"{skip.count} {reason}" for reason, skip in skips.report.items())
            raise UserError(
                f"{path} has no user with usable preferences ({reasons or 'it is empty'})",
                hint="run `personakit data check` for details",
            )
        self.skipped: Mapping[str, SkipCount] = skips.report
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
        remove_unusable(row, SkipCounts())
        return native.user_of_row(row)

    def subset(self, which: int | Sequence[int]) -> PreferenceStore:
        """Return the first `which` users, or those at the given indices, as a store."""
        indices = range(min(which, len(self))) if isinstance(which, int) else which
        chosen = object.__new__(PreferenceStore)
        chosen.path, chosen.task, chosen.skipped = self.path, self.task, self.skipped
        chosen.user_ids = [self.user_ids[index] for index in indices]
        chosen.pair_counts = [self.pair_counts[index] for index in indices]
        chosen._spans = [self._spans[index] for index in indices]
        named = json.dumps([line for line, _, _ in chosen._spans]).encode()
        chosen.fingerprint = hashlib.sha256(self.fingerprint.encode() + named).hexdigest()[:32]
        return chosen


def open_preferences(path: str | Path = LAMP_MINI, split: str = "dev") -> PreferenceStore:
    """Open one split of the preferences of a data folder or of lamp-mini.

    Raises `UserError` if the folder or split does not exist; the message lists those that do.
    """
    folder = data_folder(path)
    files = preference_files(folder)
    if not files:
        raise UserError(
            f"{path} holds no preferences ({native.FOLDER}/*.jsonl)",
            hint="import an AlignX, FSPO, SynthesizeMe or TRL file with `personakit data import`",
        )
    if split not in files:
        raise UserError(
            f'{path} has no preferences for the split "{split}", expected one of {", ".join(files)}',
            hint="choose one of these splits",
        )
    return PreferenceStore(files[split], task="LaMP_7" if is_lamp_mini(folder) else None)


def preference_files(folder: Path) -> dict[str, Path]:
    """Return the preference file of each split in a data folder, in the order train, dev, test."""
    files = sorted(
        (folder / native.FOLDER).glob("*.jsonl"),
        key=lambda path: (_ORDER.get(path.stem, len(_ORDER)), path.stem),
    )
    return {path.stem: path for path in files}


def lines(path: Path) -> Iterator[UserLine]:
    """Yield the non-blank lines of a preference file."""
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
    """Return the user of a line. Raises `UserError` if the line is invalid."""
    index = f"{path}, line {line.number}"
    values = without_missing(json_line(line.text, index))
    if not isinstance(values, dict) or not native.matches(values.keys()):
        raise UserError(
            f'{index} is not a user, expected an object with "user_id", "signals" and "pairs"',
            hint="convert other formats with `personakit data import`",
        )
    row = native.read(TableRow(index, values), SkipCounts(), None)
    assert row is not None
    return row


def remove_unusable(row: PreferenceRow, skips: SkipCounts) -> bool:
    """Remove unusable data from a divided row, in place. Return False if the user is unusable.

    Removed are empty, equal, repeated and contradicting pairs; held-out pairs that share a prompt or an
    answer with a signal; comments and items that equal a held-out answer.
    """
    signals = _usable(row.signal_pairs, row.place, skips)
    signal_texts = {text for key in signals for text in key}
    held_out = _usable(row.pairs, row.place, skips)
    separate = {key: texts for key, texts in held_out.items() if signal_texts.isdisjoint(key)}
    skips.add(AMONG_SIGNALS, row.place, len(held_out) - len(separate))
    row.signal_pairs, row.pairs = list(signals.values()), list(separate.values())
    answers = {text for key in separate for text in (key.chosen, key.rejected)}

    def is_not_answer(*texts_: str) -> bool:
        return answers.isdisjoint(map(text_key, texts_))

    count_before = len(row.comments) + len(row.about) + len(row.items)
    row.comments = [text for text in row.comments if is_not_answer(text)]
    row.about = [text for text in row.about if is_not_answer(text)]
    row.items = [item for item in row.items if is_not_answer(*item["fields"].values())]
    other_signals = len(row.comments) + len(row.about) + len(row.items)
    skips.add(IS_AN_ANSWER, row.place, count_before - other_signals)
    if row.pairs and not (row.signal_pairs or other_signals):
        skips.add(NO_SIGNALS, row.place, len(row.pairs))
        return False
    if not row.pairs:
        skips.add(NO_PAIRS, row.place, len(row.signal_pairs))
    return bool(row.pairs)


def _usable(pairs: Sequence[PairTexts], index: str, skips: SkipCounts) -> dict[PairKey, PairTexts]:
    kept: dict[PairKey, PairTexts] = {}
    for texts in pairs:
        problem = texts.problem()
        if problem is None:
            key = pair_key(texts)
            if key not in kept and key.reversed not in kept:
                kept[key] = texts
                continue
            problem = REPEATED if key in kept else CONTRADICTING
        skips.add(problem, index)
    return kept
