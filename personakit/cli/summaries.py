"""`personakit infer --summary`: infers, imports or updates a user's summary, and measures its effect."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from personakit.cli.output import Result, escaped, note, shortened, table
from personakit.errors import RunError, UserError

if TYPE_CHECKING:
    from rich.console import Console

    from personakit.cli.infer_options import InferOptions
    from personakit.data.lookup import ProfileLookup
    from personakit.method import FinishedRun
    from personakit.popi.inferring import InferredSummary
    from personakit.popi.opening import LoadedPOPI
    from personakit.popi.summary_files import WrittenSummary
    from personakit.records import PreferenceUser

ANONYMOUS = "you"
"""The user id of signals from a file without one."""
OWN, NONE, GIVEN, NEW = "as inferred", "none", "as given", "as updated"


def summary(run: FinishedRun, lookup: ProfileLookup, options: InferOptions) -> Result:
    """Infer, read or update a summary; measure its effect on the user's held-out pairs if there are any."""
    from personakit.methods import open_popi
    from personakit.popi.summary_files import WrittenSummary, check_place, read_summary, write_summary

    if options.export is not None:
        check_place(options.export)
    given = None if options.import_ is None else read_summary(options.import_)
    user = _user(lookup, given)
    if given is not None and given.user_id and given.user_id != user.user_id != ANONYMOUS:
        raise UserError(
            f'{options.import_}: the summary of user "{given.user_id}", expected that of "{user.user_id}"',
            hint=f"--user {given.user_id}, or remove the line from the file",
        )
    if given is None and user.signals.empty:
        raise UserError(
            f'user "{user.user_id}" has no signals to infer a summary from',
            hint="name signals with --user or --profile, or a summary with --import",
        )
    popi = open_popi(run)
    summariser = popi.summariser()
    texts: dict[str, str] = {}
    if not user.signals.empty and options.update is None:
        texts[OWN] = _text(summariser.infer([user.signals])[0], popi)
    if given is not None:
        texts[GIVEN] = given.summary
        tokens, longest = summariser.model.count_tokens(given.summary), popi.settings.joint.max_summary_tokens
        if tokens > longest:
            note(f"the summary has {tokens} tokens, the run's maximum is {longest}; it is used unchanged")
    if options.update is not None:
        news = lookup.signals_of_file(options.update, user.user_id).signals
        old = _text(summariser.infer([user.signals])[0], popi) if given is None else given.summary
        texts[NEW] = _text(summariser.update(old, news), popi)
    shown = next(texts[name] for name in (NEW, GIVEN, OWN) if name in texts)
    document: dict[str, Any] = {
        "user": user.user_id,
        "run": str(run.folder),
        "summary": shown,
        "tokens": summariser.model.count_tokens(shown),
        "summaries": texts,
    }
    if user.pairs and (options.trace or len(texts) > 1):
        document |= _effects(popi, user, texts, shown, phrases=options.trace)
    elif options.trace:
        note("this user has no held-out pairs, so the effect of phrases cannot be measured")
    if options.export is not None:
        fingerprint = "" if NEW not in texts and given is not None else summariser.fingerprint
        owner = "" if user.user_id == ANONYMOUS else user.user_id
        write_summary(options.export, WrittenSummary(shown, owner, str(run.folder), fingerprint))
        note(f"written: {options.export}")
    return Result(document, lambda out: _show(out, document))


def _user(lookup: ProfileLookup, given: WrittenSummary | None) -> PreferenceUser:
    """Return the user of --profile, --user, the imported summary, or the first one in the data."""
    from personakit.data.folders import data_folder
    from personakit.data.preferences import preference_files
    from personakit.records import PreferenceUser, Signals

    if lookup.profile is not None:
        return lookup.signals_of_file(lookup.profile, ANONYMOUS)
    user = lookup.user or (given.user_id if given is not None else "")
    if not user and given is not None:
        return PreferenceUser(ANONYMOUS, Signals(), ())
    has_preferences = bool(preference_files(data_folder(lookup.data)))
    return replace(lookup, preferences=has_preferences).signals(user or None)


def _text(summary: InferredSummary, popi: LoadedPOPI) -> str:
    if summary.dropped:
        kinds = ", ".join(f"{count} {kind}" for kind, count in summary.dropped.items())
        note(f"dropped, to fit {popi.settings.data.signal_tokens} tokens (data.signal_tokens): {kinds}")
    if summary.error is not None:
        raise RunError(f"no summary: {summary.error}", hint="use another model, or a larger limit")
    if not summary.text:
        raise UserError(
            "no summary: no signal fits, or the model generated nothing",
            hint="give shorter signals, or train with a larger data.signal_tokens",
        )
    return summary.text


def _effects(
    popi: LoadedPOPI, user: PreferenceUser, texts: dict[str, str], shown: str, *, phrases: bool
) -> dict[str, Any]:
    from personakit.popi.effects import effects, phrase_effects

    found = effects(popi, user.pairs, ["", *texts.values()])
    document: dict[str, Any] = {
        "held_out_pairs": len(user.pairs),
        "effects": {name: asdict(effect) for name, effect in zip([NONE, *texts], found, strict=True)},
    }
    if phrases:
        document["phrases"] = [asdict(phrase) for phrase in phrase_effects(popi, user.pairs, shown)]
    return document


def _show(out: Console, document: dict[str, Any]) -> None:
    if "effects" not in document:
        out.print(escaped(document["summary"]))
        return
    for name, text in document["summaries"].items():
        out.print(f"{name:<12} {escaped(text)}")
    rows = [
        (name, f"{each['margin']:+.3f}", f"{each['accuracy']:.2f}", f"{each['bits']:+.3f}")
        for name, each in document["effects"].items()
    ]
    out.print(f"on {document['held_out_pairs']} held-out pairs of user {escaped(document['user'])}:")
    table(out, ("summary", "mean margin", "accuracy", "bits"), rows)
    if "phrases" in document:
        out.print("decrease of the mean margin without a phrase:")
        empty = "the summary has no phrase that can be left out"
        phrases = [(f"{each['worth']:+.3f}", shortened(each["text"])) for each in document["phrases"]]
        table(out, ("decrease", "phrase"), phrases, empty=empty)
