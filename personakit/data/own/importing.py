"""Imports a person's own texts: a profile, queries with the newest held out, and a style card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from personakit.data.history import ONE_USER
from personakit.data.lamp_formats import REWRITING, WRITING
from personakit.data.own.choosing import Writers, one_of
from personakit.data.own.held_out import held_out
from personakit.data.own.names import Pseudonyms
from personakit.data.own.profile import PROFILE, as_items, write_profile
from personakit.data.own.records import Record
from personakit.data.own.selection import select
from personakit.data.own.sources import SOURCES, count_others
from personakit.data.own.style_card import style_card
from personakit.data.skips import SkipCount, SkipCounts, counted
from personakit.data.splitting import SplitExamples
from personakit.errors import UserError

NAMES_STAY = "texts of an imported profile, whose names, addresses and numbers stay"
STYLE_CARD = "style.md"


@dataclass(frozen=True, slots=True)
class OwnChoice:
    """Whose texts are read (`choosing.Writers.choose`), and whether other people's names stay."""

    me: Sequence[str] = ()
    keep_names: bool = False


@dataclass(frozen=True, slots=True)
class OwnReport:
    """What was read of a writer: `texts` of `read`, the rest in `skipped` by reason.

    `requests` and `drafts` count the texts that have one. `replaced` counts replacements by kind, `distinct`
    the different names, addresses and numbers; both are empty if names are kept.
    """

    writer: str
    read: int
    texts: int
    requests: int
    drafts: int
    first: str | None
    last: str | None
    skipped: Mapping[str, SkipCount]
    replaced: Mapping[str, int]
    distinct: Mapping[str, int]


def import_own(
    source: Path,
    output: Path,
    *,
    format: str,
    choice: OwnChoice,
    columns: Mapping[str, str],
    counts: SkipCounts,
) -> tuple[OwnReport, list[tuple[str, SplitExamples]]]:
    """Write a writer's profile and style card to the folder `output`; return report and splits.

    `format` is one of `SOURCES`. `counts` takes what was
    read in another way than it should be.

    Raises `UserError` if the writer is not clear, or no text is left.
    """
    archive = SOURCES[format].open(source, counts, columns)
    count_others(source, format, counts)
    writers = Writers(source, archive.writers())
    mine = writers.choose(choice.me, archive.owner())
    skipped, read = SkipCounts(), 0

    def read_records() -> Iterator[Record]:
        nonlocal read
        for record in archive.records(one_of(mine)):
            read += 1
            yield record

    records = select(read_records(), skipped)
    if not records:
        reasons = "; ".join(counted(count.count, reason) for reason, count in skipped.report.items())
        raise UserError(
            f"{source} has no usable text by {mine[0].label}: {reasons or 'none was found'}",
            hint="give another source, or another writer with --me",
        )
    people = [person for record in records for person in record.people]
    people += () if SOURCES[format].strangers else writers.counts
    pseudonyms = Pseudonyms(
        people,
        mine,
        [text for record in records for text in (record.text, record.draft) if text],
        [record.request for record in records if record.request],
    )
    shown = records if choice.keep_names else [_replaced(record, pseudonyms) for record in records]
    for record in records:
        if record.replaced and not choice.keep_names:
            counts.add(NAMES_STAY, record.place)
    items = as_items(shown, records)
    write_profile(output / PROFILE, items)
    (output / STYLE_CARD).write_text(
        style_card(items, name=mine[0].name or mine[0].id, names=pseudonyms.words), encoding="utf-8"
    )
    tasks = {task: held_out(items, task, ONE_USER) for task in (WRITING, REWRITING)}
    report = OwnReport(
        writer=", ".join(writer.label for writer in mine),
        read=read,
        texts=len(items),
        requests=sum(item.request is not None for item in items),
        drafts=sum(item.draft is not None for item in items),
        first=items[0].date,
        last=items[-1].date,
        skipped=skipped.report,
        replaced=dict(pseudonyms.counts),
        distinct={} if choice.keep_names else pseudonyms.distinct,
    )
    return report, [(task, splits) for task, splits in tasks.items() if splits is not None]


def _replaced(record: Record, pseudonyms: Pseudonyms) -> Record:
    if record.replaced:
        return record
    return replace(
        record,
        text=pseudonyms.replace(record.text),
        request=record.request and pseudonyms.replace(record.request),
        draft=record.draft and pseudonyms.replace(record.draft),
        replaced=True,
    )
