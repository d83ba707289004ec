"""`personakit infer --summary`: a user's summary printed, exported, edited, updated, and what it is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personakit.cli.output import Result, harmless, note, shortened, table
from personakit.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from personakit.popi.inferring import Inferred
    from personakit.popi.opening import OpenRun
    from personakit.records import PreferenceUser

ANONYMOUS = "you"
"""Whose signals they are where the file does not say."""
OWN, NONE, GIVEN, NEW = "as inferred", "none", "as given", "as updated"


@dataclass(frozen=True, slots=True)
class SummaryRequest:
    """One call of `personakit infer --summary`; see the options for what each means."""

    run: Path
    data: str
    split: str
    user: str | None
    profile: Path | None
    export: Path | None
    given: Path | None
    news: Path | None
    trace: bool


def summarise(request: SummaryRequest) -> Result:
    """Infer, read or update a summary; say what it does to the user's held-out pairs where there are any."""
    from personakit.methods import open_popi
    from personakit.popi.summary_files import WrittenSummary, check_place, read_summary, write_summary

    if request.export is not None:
        check_place(request.export)
    given = None if request.given is None else read_summary(request.given)
    person = _person(request, given.user_id if given is not None else "")
    if given is not None and given.user_id and given.user_id != person.user_id != ANONYMOUS:
        raise UserError(
            f'{request.given}: the summary of user "{given.user_id}", expected that of "{person.user_id}"',
            hint=f"--user {given.user_id}, or take the line out of the file",
        )
    opened = open_popi(request.run)
    if given is None and person.signals.empty:
        raise UserError(
            f'nothing is known of user "{person.user_id}" to infer a summary from',
            hint="name signals with --user or --profile, or a summary with --import",
        )
    texts: dict[str, str] = {}
    if not person.signals.empty and request.news is None:
        texts[OWN] = _inferred(opened.summariser().infer([person.signals])[0], opened)
    if given is not None:
        texts[GIVEN] = given.summary
        _mind_length(opened, given.summary)
    if request.news is not None:
        texts[NEW] = _updated(request, opened, person, given.summary if given is not None else None)
    shown = next(texts[name] for name in (NEW, GIVEN, OWN) if name in texts)
    document: dict[str, Any] = {
        "user": person.user_id,
        "run": str(request.run),
        "summary": shown,
        "tokens": opened.summariser().model.count_tokens(shown),
        "summaries": texts,
    }
    if person.pairs and (request.trace or len(texts) > 1):
        document |= _worth(opened, person, texts, shown, trace=request.trace)
    elif request.trace:
        note("no held-out pairs of this user: what a phrase is worth cannot be told")
    if request.export is not None:
        fingerprint = "" if NEW not in texts and given is not None else opened.summariser().fingerprint
        owner = "" if person.user_id == ANONYMOUS else person.user_id
        write_summary(request.export, WrittenSummary(shown, owner, str(request.run), fingerprint))
        note(f"written: {request.export}")
    return Result(document, lambda out: _show(out, document, trace=request.trace))


def _person(request: SummaryRequest, otherwise: str) -> PreferenceUser:
    """Whose summary it is: a user of the data, the owner of a file, or whom an imported summary is about."""
    from personakit.records import PreferenceUser, Signals

    if request.profile is not None:
        from personakit.data.preferences.signal_file import read_own_signals

        person, skipped = read_own_signals(request.profile, ANONYMOUS)
        for reason, skip in skipped.items():
            note(f"left out of {request.profile}: {skip.count} {reason} (first: {skip.first})")
        return person
    user = request.user or otherwise
    if not user and request.given is not None:
        return PreferenceUser(ANONYMOUS, Signals(), ())
    return _of_data(request, user or None)


def _of_data(request: SummaryRequest, user: str | None) -> PreferenceUser:
    """A user of the data, by default the first; their history where the data has no preferences."""
    from personakit.cli.histories import Histories
    from personakit.cli.preferences import find_user
    from personakit.data.folders import data_folder
    from personakit.data.preferences import open_preferences, preference_files
    from personakit.data.preferences.profiles import as_signals
    from personakit.records import PreferenceUser

    if preference_files(data_folder(request.data)):
        return find_user(open_preferences(request.data, request.split), request.data, request.split, user)
    _, profile = Histories(request.data, request.split, user=user).sample(None)
    return PreferenceUser(profile.user_id, as_signals(profile), ())


def _inferred(summary: Inferred, opened: OpenRun) -> str:
    if summary.dropped:
        kinds = ", ".join(f"{count} {kind}" for kind, count in summary.dropped.items())
        note(f"left out, to fit {opened.settings.data.signal_tokens} tokens (data.signal_tokens): {kinds}")
    if not summary.text:
        raise UserError(
            "no summary: no signal fits, or the model wrote nothing",
            hint="give shorter signals, or train with a larger data.signal_tokens",
        )
    return summary.text


def _updated(request: SummaryRequest, opened: OpenRun, person: PreferenceUser, old: str | None) -> str:
    from personakit.data.preferences.signal_file import read_own_signals

    assert request.news is not None
    news, skipped = read_own_signals(request.news, person.user_id)
    for reason, skip in skipped.items():
        note(f"left out of {request.news}: {skip.count} {reason} (first: {skip.first})")
    summariser = opened.summariser()
    if old is None:
        if person.signals.empty:
            raise UserError("--update: there is no summary yet to update", hint="name it with --import")
        old = _inferred(summariser.infer([person.signals])[0], opened)
    return _inferred(summariser.update(old, news.signals), opened)


def _mind_length(opened: OpenRun, summary: str) -> None:
    cap = opened.settings.joint.max_summary_tokens
    tokens = opened.summariser().model.count_tokens(summary)
    if tokens > cap:
        note(f"the summary has {tokens} tokens, those of this run {cap} at most; it is used as it is")


def _worth(
    opened: OpenRun, person: PreferenceUser, texts: dict[str, str], shown: str, *, trace: bool
) -> dict[str, Any]:
    from personakit.popi.effects import effects, worth_of_phrases

    names = [NONE, *texts]
    found = effects(opened, person.pairs, ["", *texts.values()])
    document: dict[str, Any] = {
        "held_out_pairs": len(person.pairs),
        "effects": {name: asdict(effect) for name, effect in zip(names, found, strict=True)},
    }
    if trace:
        document["phrases"] = [asdict(phrase) for phrase in worth_of_phrases(opened, person.pairs, shown)]
    return document


def _show(out: Console, document: dict[str, Any], *, trace: bool) -> None:
    if "effects" not in document:
        out.print(harmless(document["summary"]))
        return
    for name, text in document["summaries"].items():
        out.print(f"{name:<12} {harmless(text)}")
    rows: Sequence[Sequence[object]] = [
        (name, f"{each['margin']:+.3f}", f"{each['accuracy']:.2f}", f"{each['bits']:+.3f}")
        for name, each in document["effects"].items()
    ]
    out.print(f"on {document['held_out_pairs']} held-out pairs of user {harmless(document['user'])}:")
    table(out, ("summary", "mean margin", "right", "bits"), rows)
    if trace:
        out.print("without the phrase, the mean margin falls by:")
        phrases = [(f"{each['worth']:+.3f}", shortened(each["text"])) for each in document["phrases"]]
        table(out, ("falls by", "phrase"), phrases)
