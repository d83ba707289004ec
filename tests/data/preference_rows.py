"""Small rows of every preference format, as published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from personakit.data.preferences import alignx

Rows = list[dict[str, Any]]


def pair(name: str, prompt: str | None = None) -> dict[str, str]:
    return {
        "prompt": prompt or f"asked {name}",
        "chosen": f"liked {name}",
        "rejected": f"disliked {name}",
    }


def alignx_rows(users: int = 12) -> Rows:
    """Reddit rows: each with its own signals of every kind."""
    return [
        {
            **pair(f"target {n}"),
            "Preference Direction": [0.5] * 90,
            alignx.ABOUT: f"a person of kind {n}",
            alignx.POSTS: [{"prompt": f"post {n}", "comment": f"remark {n}", "Preference Direction": []}],
            alignx.PAIRS: [{**pair(f"signal {n} {k}"), "Preference Direction": []} for k in range(4)],
        }
        for n in range(users)
    ]


def p_soups_rows(rows: int = 240, targets: int = 40, signals: int = 12) -> Rows:
    """Draws from the pools of two personas, whose targets share prompts now and then; repeated at will."""
    made = []
    for n in range(rows):
        persona, draw = n % 2, (7 * n) // 2
        target = draw % targets
        made.append(
            {
                **pair(f"target {persona} {target}", prompt=f"asked {target // 2}"),
                "ground_truth_persona": f"Answer as persona {persona} likes it.",
                "profile": f"Young, likes {n}",
                alignx.PAIRS: [pair(f"signal {persona} {(draw + k) % signals}") for k in range(4)],
            }
        )
    return made


def elix_rows(levels: tuple[str, ...] = ("child", "expert"), prompts: int = 30) -> Rows:
    return [
        {
            "prompt": f"explain {n}",
            "response_x": f"easy {n}",
            "response_y": f"hard {n}",
            "level_x": "child",
            "level_y": "expert",
            "label": int(level == "expert"),
            "scorer_level": level,
        }
        for level in levels
        for n in range(prompts)
    ]


def roleplay_rows(users: int = 25, per_user: int = 5) -> Rows:
    return [
        {
            "x": f"question {u} {n}",
            "yw": f"good {u} {n}",
            "yl": f"bad {u} {n}",
            "level": f"persona {u}",
            "score_persona": f"somebody who is {u}",
        }
        for u in range(users)
        for n in range(per_user)
    ]


def prism_rows(users: int = 10, per_user: int = 5) -> Rows:
    return [
        {
            "user_id": f"user{u}",
            "context": [
                {"role": "user", "content": f"hello {u} {n}"},
                {"role": "model", "content": "hi"},
                {"role": "user", "content": f"tell me {u} {n}"},
            ],
            "chosen": {"role": "model", "content": f"yes {u} {n}"},
            "rejected": {"role": "model", "content": f"no {u} {n}"},
        }
        for u in range(users)
        for n in range(per_user)
    ]


def trl_rows(users: int = 10, per_user: int = 5) -> Rows:
    return [{"user": f"user{u}", **pair(f"{u} {n}")} for u in range(users) for n in range(per_user)]


def native_rows(users: int = 10) -> Rows:
    return [
        {
            "user_id": f"user{u}",
            "signals": {
                "pairs": [pair(f"signal {u} {n}") for n in range(3)],
                "comment": f"comment {u}",
                "demographics": f"about {u}",
                "items": [{"id": "7", "fields": {"title": f"t {u}", "text": f"x {u}"}, "date": "2020"}],
            },
            "pairs": [pair(f"held {u} {n}") for n in range(2)],
            "persona": f"persona {u}",
        }
        for u in range(users)
    ]


def write(path: Path, rows: Rows) -> Path:
    """Write rows as the suffix says."""
    if path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        import csv

        with path.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    return path
