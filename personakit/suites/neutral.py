"""Neutral texts: plain information that is fine as it is, to measure what personalisation spoils.

Timetables, prices, addresses and the like leave little to a writer's style. A rewriter may add a greeting to
them; it must not change what they say, and should mostly leave them alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from personakit.data.lamp_formats import build_input
from personakit.evaluation.sections import Section, Table, Text, percent, percent_interval
from personakit.records import Example, Query
from personakit.tasks import Task

NEUTRAL_FILE = "neutral/samples.jsonl"
TEXTS = (
    "The library is open from 9:00 to 18:00 on weekdays and closed on public holidays.",
    "Train 417 to Leeds departs at 14:05 from platform 6.",
    "A single ticket costs 3.40, a day ticket 8.20.",
    "The office has moved to 24 Harbour Street, second floor.",
    "Flour 250 g, butter 125 g, sugar 80 g, one egg.",
    "The form is available at https://forms.example.org/leave and takes about five minutes.",
    "Bus 12 does not stop at Mill Lane between 3 and 14 June.",
    "The museum was founded in 1871 and has about 12,000 objects.",
    "Invoice 2024-118 was paid on 2 May.",
    "The battery lasts eleven hours and charges in two.",
    "Room B12 seats 40 people and has a projector.",
    "Questions about the contract go to Maria Jensen at legal@example.org.",
    "The lift is out of service until Thursday.",
    "The river Tay is 188 kilometres long.",
    "Water boils at 100 degrees Celsius at sea level.",
    "The next inspection of the smoke detectors is on Tuesday, 17 September, between 8 and 12.",
    "The parcel weighs 2.3 kg and was sent from Rotterdam.",
    "Version 4.2 requires 8 GB of memory and runs on Linux and Windows.",
    "The concert begins at 20:00; doors open at 19:15.",
    "Take the second exit at the roundabout, then turn left after 300 metres.",
    "The password must have at least twelve characters and one digit.",
    "The deadline for applications is 31 January at noon.",
    "The survey was answered by 1,204 people in six countries.",
    "The pharmacy on Park Road is open tonight.",
    "Lisbon is one hour behind Madrid.",
    "The apartment has three rooms, 74 square metres and a balcony facing south.",
    "Tablets are taken twice a day after meals, for ten days.",
    "The swimming pool is closed for repairs from Monday to Friday.",
    "The warranty covers parts for 24 months from the date of purchase.",
    "The meeting of 6 March was attended by Helen Ward, Tom Okafor and Ines Duarte.",
)


def neutral_examples(task: Task, examples: Sequence[Example], limit: int | None = None) -> list[Example]:
    """Return a query for each text, of the users with a history in turn; at most `limit` of them."""
    profiles = list({one.profile.user_id: one.profile for one in examples if one.profile.items}.values())
    if not profiles:
        return []
    found = []
    for place, text in enumerate(TEXTS[:limit]):
        profile = profiles[place % len(profiles)]
        full = build_input(task.name, original=text)
        query = Query(f"neutral/{place + 1}", task.name, full, text, profile.user_id)
        found.append(Example(query, profile))
    return found


def neutral_document(log: Path, task: Task, examples: Sequence[Example]) -> list[dict[str, Any]]:
    """Return how often each row changed a text, how many of its words, and how often its content."""
    from personakit.evaluation.bootstrap import mean_of_units
    from personakit.evaluation.results import interval
    from personakit.evaluation.samples import read_samples
    from personakit.tasks.content_check import ContentChecker
    from personakit.tasks.edits import edit_share

    by_id = {one.query.id: one for one in examples}
    checkers = {
        id: ContentChecker(
            one.query.search_text, history=[task.item_parts(item)[1] for item in one.profile.items]
        )
        for id, one in by_id.items()
    }
    shares: dict[str, dict[str, list[float]]] = {}
    broken: dict[str, dict[str, list[float]]] = {}
    degraded: dict[str, int] = {}
    for sample in read_samples(log):
        if sample.error is not None:
            continue
        share = edit_share(by_id[sample.query_id].query.search_text, sample.prediction)
        check = checkers[sample.query_id].check(sample.prediction)
        shares.setdefault(sample.method, {}).setdefault(sample.user_id, []).append(share)
        broken.setdefault(sample.method, {}).setdefault(sample.user_id, []).append(float(not check.passed))
        degraded[sample.method] = degraded.get(sample.method, 0) + (sample.degraded is not None)
    found = []
    for method, by_user in shares.items():
        changed = {user: [float(share > 0) for share in some] for user, some in by_user.items()}
        found.append(
            {
                "method": method,
                "texts": sum(map(len, by_user.values())),
                "changed": interval("value", mean_of_units(changed)),
                "words": interval("value", mean_of_units(by_user)),
                "broken": interval("value", mean_of_units(broken[method])),
                "degraded": degraded[method],
            }
        )
    return found


def neutral_section(results: Mapping[str, Any]) -> Section:
    """Return the table of `neutral_document`; empty where it was not measured."""
    rows = [
        [
            row["method"],
            *(_share(row[name]) for name in ("changed", "words", "broken")),
            str(row["degraded"]),
            str(row["texts"]),
        ]
        for row in results.get("neutral", ())
    ]
    note = (
        "Plain information that needs no change (timetables, prices, addresses), given to the users in turn: "
        "how often a row changes it, how many of its words, and how often it loses or invents a fact. "
        "Fallback: the text was returned."
    )
    columns = ["method", "changed", "words\nchanged", "content\nbroken", "fall-\nback", "answers"]
    return Section("Neutral texts", [Table(columns, rows), Text(note if rows else "")])


def _share(found: Mapping[str, float | None]) -> str:
    return f"{percent(found['value'])} {percent_interval(found['low'], found['high'])}".strip()
