"""`personakit verify`: checks a rewrite of a draft for one writer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personakit.cli.command import command
from personakit.cli.options import Columns, Split, checked_share, parse_columns
from personakit.cli.output import Result, escaped, note, note_read
from personakit.cli.streams import given_text
from personakit.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from personakit.evaluation.bootstrap import Estimate
    from personakit.evaluation.verification import StylePlace, Verification
    from personakit.records import Profile

#: Exit status where a check failed.
NOT_VERIFIED = 3

Draft = Annotated[
    str,
    typer.Argument(metavar="DRAFT", help="The draft: a text, a file, or - for stdin.", show_default=False),
]
Candidate = Annotated[
    str, typer.Argument(metavar="CANDIDATE", help="Its rewrite, likewise.", show_default=False)
]
Writer = Annotated[
    Path | None,
    typer.Option(
        "--profile",
        metavar="FILE",
        help="The writer's own texts: CSV, JSON, JSONL or Parquet. Other users in it are other writers. "
        "Without it, style is not judged.",
    ),
]
User = Annotated[
    str | None, typer.Option("--user", metavar="ID", help="The writer, where the file has several users.")
]
Others = Annotated[
    Path | None,
    typer.Option(
        "--others",
        metavar="PATH",
        help="Texts of the same kind by other writers, for the style score: a data folder, or a file with "
        "a user column.",
    ),
]
Task = Annotated[
    str, typer.Option("--task", metavar="TASK", help="The task whose items the texts are, such as LaMP_7.")
]
MaxEdit = Annotated[
    float | None,
    typer.Option(
        "--max-edit",
        metavar="SHARE",
        callback=checked_share,
        help="Fail where more than this share (0 to 1) of the draft's words is changed, such as 0.2.",
    ),
]
Request = Annotated[
    str | None,
    typer.Option("--request", metavar="TEXT", help="What the draft answers; its facts may be used, too."),
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app, "verify")(verify)


def verify(
    draft: Draft,
    candidate: Candidate,
    profile: Writer = None,
    user: User = None,
    others: Others = None,
    column: Columns = None,
    task: Task = "LaMP_7",
    split: Split = "dev",
    max_edit: MaxEdit = None,
    request: Request = None,
) -> Result:
    """Check a rewrite of a draft before it is used.

    Counts the words changed, compares numbers, names, dates, links and e-mail addresses, and places the
    style of the rewrite between other writers (floor) and the writer's own texts (ceiling). Exit status 3
    if a check fails.
    """
    from personakit.evaluation.verification import verify as check

    if draft == candidate == "-":
        raise UserError("DRAFT and CANDIDATE are both -, expected one", hint="give the other as a file")
    texts = given_text(draft, "DRAFT"), given_text(candidate, "CANDIDATE")
    mine: list[str] = []
    strangers: list[Profile] = []
    if profile is not None:
        own, strangers = _writers(profile, user, task, parse_columns(column))
        mine = _texts(own, task)
    elif user is not None or others is not None:
        raise UserError(
            f"{f'--others {others}' if user is None else f'--user {user}'} goes with --profile, which was "
            "not given",
            hint="--profile names the file with the writer's own texts",
        )
    if others is not None:
        strangers += _other_writers(others, task, split, parse_columns(column))
    found = check(
        *texts,
        mine,
        _without_writer([_texts(each, task) for each in strangers], mine),
        request=request or "",
        max_edit=max_edit,
    )
    status = NOT_VERIFIED if found.failed else 0
    return Result(_document(found), lambda out: _show(out, found), status)


def _writers(
    path: Path, user: str | None, task: str, columns: dict[str, str]
) -> tuple[Profile, list[Profile]]:
    """Return the writer's profile, and those of other users in the file."""
    profiles = _read(path, task, columns)
    ids = [each.user_id for each in profiles]
    if user is None and len(profiles) > 1:
        raise UserError(
            f"{path} has {len(profiles)} users, expected one",
            hint=f"--user names the writer, such as {ids[0]}",
        )
    if user is not None and user not in ids:
        raise UserError(f'{path} has no user "{user}"', hint=f"it has {', '.join(ids[:5])}")
    own = profiles[0 if user is None else ids.index(user)]
    return own, [each for each in profiles if each is not own]


def _other_writers(path: Path, task: str, split: str, columns: dict[str, str]) -> list[Profile]:
    if not path.exists():
        raise UserError(
            f"--others {path} does not exist, expected a data folder or a file", hint="check the path"
        )
    if not path.is_dir():
        return _read(path, task, columns)
    from personakit.data import open_examples

    by_user = {one.profile.user_id: one.profile for one in open_examples(str(path), task, split)}
    return list(by_user.values())


def _without_writer(others: list[list[str]], own: list[str]) -> dict[str, list[str]]:
    """Return the texts of other writers by number, without the writer's own under another id."""
    same = [sum(text in own for text in texts) * 2 > len(texts) for texts in others]
    if any(same):
        note(f"{sum(same)} of {len(others)} other writers left out: most of their texts are the writer's")
    return {str(place): texts for place, texts in enumerate(others) if not same[place]}


def _read(path: Path, task: str, columns: dict[str, str]) -> list[Profile]:
    from personakit.data.history import read_history
    from personakit.data.skips import SkipCounts

    counts = SkipCounts()
    profiles = read_history(path, task, columns=columns, counts=counts)
    note_read(path, counts.report)
    return profiles


def _texts(profile: Profile, task: str) -> list[str]:
    from personakit.tasks import get_task

    return [get_task(task).item_parts(item)[1] for item in profile.items]


def _document(found: Verification) -> dict[str, Any]:
    return {
        "passed": not found.failed,
        "failed": found.failed,
        "edits": {"share": round(found.edit_share, 6), "max": found.max_edit},
        "content": {
            "lost": [{"kind": fact.kind, "text": fact.text} for fact in found.content.lost],
            "invented": [{"kind": fact.kind, "text": fact.text} for fact in found.content.invented],
        },
        "style": None if found.style is None else _style_document(found.style),
        "no_style": found.no_style or None,
    }


def _style_document(style: StylePlace) -> dict[str, Any]:
    from personakit.evaluation.results import interval
    from personakit.tasks.style import METHOD

    return {
        "draft": round(style.draft, 6),
        "candidate": round(style.candidate, 6),
        "floor": interval("value", style.floor),
        "ceiling": interval("value", style.ceiling),
        "apart": style.apart,
        "p": round(style.p, 6),
        "share": round(style.share, 6) if style.apart else None,
        "other_writers": style.writers,
        "own_texts": style.texts,
        "method": METHOD,
    }


def _show(out: Console, found: Verification) -> None:
    limit = "" if found.max_edit is None else f" (at most {found.max_edit:.0%})"
    out.print(f"words changed  {found.edit_share:.0%}{limit}")
    content = "kept, nothing invented" if found.content.passed else found.content.reason
    out.print(escaped(f"content        {content}"))
    style = found.style
    if style is None:
        out.print(f"style          not judged: {found.no_style}")
    else:
        out.print(f"style          draft {style.draft:.2f}, candidate {style.candidate:.2f}")
        out.print(f"  floor        {_shown(style.floor)}  texts of {style.writers} other writers")
        out.print(f"  ceiling      {_shown(style.ceiling)}  the writer's {style.texts} texts")
        if style.apart:
            out.print(f"  place        {style.share:.0%} of the way from floor to ceiling")
        else:
            out.print("  place        none: these texts do not tell the writer from others")
    verdict = "passed" if not found.failed else f"failed: {'; '.join(found.failed)}"
    out.print(escaped(f"verdict        {verdict}"))


def _shown(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"
