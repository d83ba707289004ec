"""`personakit data show`: a user's history and queries, preferences, instructions, or a profile file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personakit.cli.output import Result, escaped, note, note_read, note_skipped, shortened, table
from personakit.data.skips import counted

if TYPE_CHECKING:
    from rich.console import Console

    from personakit.data.lookup import ProfileLookup
    from personakit.records import Example, Instruction, PreferenceUser
    from personakit.tasks.edit_rate import EditRate

_INSTRUCTIONS, _WIDTH = 10, 160


def show_questions(lookup: ProfileLookup, task: str | None, limit: int | None) -> Result:
    """Return at most `limit` queries of the user, and the history of the first."""
    examples = lookup.examples(task)
    first = examples[0]
    queries = counted(len(examples), "queries")
    note(f"{lookup.data}, {first.query.task}, {lookup.split}: {queries} of this user")
    shown = examples[:limit]
    document = {
        "user": first.query.user_id,
        "task": first.query.task,
        "queries": [
            {"id": each.query.id, "query": each.query.text, "gold": each.query.gold} for each in shown
        ],
        "profile": [{"id": item.id, "date": item.date, **item.fields} for item in first.profile.items],
    }
    return Result(document, lambda out: _print_questions(out, shown))


def show_preferences(lookup: ProfileLookup, limit: int | None) -> Result:
    """Return the user's signals and at most `limit` of their held-out pairs."""
    from personakit.data.preferences.native import record

    store, user = lookup.store, lookup.signals(lookup.user)
    users, pairs = counted(len(store), "users"), counted(sum(store.pair_counts), "held-out pairs")
    note(f"{lookup.data}, preferences, {lookup.split}: {users}, {pairs}")
    note_skipped(lookup.split, store.skipped)
    document: dict[str, Any] = record(user)
    document["pairs"] = document["pairs"][:limit]
    return Result(document, lambda out: _print_preferences(out, user, limit))


def show_instructions(path: str, split: str, limit: int | None) -> Result:
    """Return at most `limit` instructions of a split (by default ten), or of the pool (`--split pool`)."""
    from personakit.data.instructions import open_instructions, open_pool

    if split == "pool":
        opened = open_pool("pool", path)
        rows, name = opened.pool.prompts, opened.name
    else:
        store = open_instructions(path, split)
        rows, name = store.rows, store.name
    shown = rows[: limit or _INSTRUCTIONS]
    note(f"{name}: {len(shown)} of {len(rows)}")
    document = {"name": name, "instructions": [asdict(each) for each in shown]}
    return Result(document, lambda out: _print_instructions(out, shown))


def _line(out: Console, name: str, text: str) -> None:
    out.print(escaped(f"{name}{shortened(text, _WIDTH)}"))


def _print_questions(out: Console, examples: list[Example]) -> None:
    first = examples[0]
    out.print(f"user {escaped(first.query.user_id)}, {counted(len(first.profile.items), 'items')}")
    for number, item in enumerate(first.profile.items, start=1):
        date = f"{item.date}  " if item.date else ""
        fields = "  ".join(f"{key}: {shortened(value, _WIDTH)}" for key, value in item.fields.items())
        out.print(f"{number:4}. {escaped(date + fields)}")
    for one in examples:
        out.print(f"query {escaped(one.query.id)}: {escaped(one.query.text)}")
        if one.query.gold is not None:
            out.print(f"gold  {escaped(one.query.gold)}")


def _print_preferences(out: Console, user: PreferenceUser, limit: int | None) -> None:
    signals = user.signals
    out.print(f"user {escaped(user.user_id)}")
    if user.persona is not None:
        _line(out, "persona: ", user.persona)
    for text in signals.about:
        _line(out, "about: ", text)
    for text in signals.comments:
        _line(out, "comment: ", text)
    for item in signals.items:
        _line(out, "item: ", "  ".join(f"{key}: {value}" for key, value in item.fields.items()))
    for title, pairs in (("signals", signals.pairs), ("held out", user.pairs[:limit])):
        out.print(f"{title}: {counted(len(pairs), 'pairs')}")
        for number, pair in enumerate(pairs, start=1):
            _line(out, f"{number:4}. prompt   ", pair.prompt)
            _line(out, "      chosen   ", pair.chosen)
            _line(out, "      rejected ", pair.rejected)


def _print_instructions(out: Console, rows: tuple[Instruction, ...]) -> None:
    for one in rows:
        out.print(escaped(f"{one.id} ({one.kind})" if one.kind else one.id))
        for name, text in (("instruction", one.instruction), ("input", one.input), ("output", one.output)):
            if text:
                _line(out, f"  {name:<12}", text)


def show_profile(path: Path, user: str | None, columns: Mapping[str, str]) -> Result:
    """Return the number of texts in a profile file, and how much of the answers was changed, by month."""
    from personakit.data.own.pairs import profile_texts
    from personakit.data.skips import SkipCounts
    from personakit.tasks.edit_rate import EditedAnswer, edit_rates

    counts = SkipCounts()
    texts = profile_texts(path, user, counts, columns)
    note_read(path, counts.report)
    edited = [EditedAnswer(each.writer.id, each.date, each.draft, each.text) for each in texts if each.draft]
    rates = edit_rates(edited)
    document = {
        "profile": str(path),
        "texts": len(texts),
        "edits": [asdict(each) | {"rate": round(each.rate, 4)} for each in rates],
    }
    return Result(document, lambda out: _print_profile(out, len(texts), rates))


def _print_profile(out: Console, texts: int, rates: list[EditRate]) -> None:
    edits = sum(each.answers for each in rates)
    out.print(f"{counted(texts, 'texts')}, {edits or 'none'} of them made from an answer")
    rows = [
        (each.user_id, each.month or "no date", each.answers, each.unchanged, f"{100 * each.rate:.0f}%")
        for each in rates
    ]
    columns = ("user", "month", "answers", "taken unchanged", "words changed")
    table(out, columns, rows, empty="no edit rate: personakit infer --learn adds what you make of an answer")
