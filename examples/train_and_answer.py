"""Train RPO, then answer a query of your own for a user whose history is a file.

python examples/train_and_answer.py            # seconds: a few steps of the tiny model nano
python examples/train_and_answer.py --full     # minutes: the default configuration
python examples/train_and_answer.py --run runs/rpo "a query of your own"
"""

from __future__ import annotations

import argparse
from pathlib import Path

import personakit
from personakit import Query
from personakit.data.history import read_history
from personakit.data.lamp_formats import build_input

TASK = "LaMP_7"  # paraphrase a tweet as the user would write it
QUERY = "My sister and I explored the folk museum in Oslo on Saturday, and it rained the whole time."
SHORT = (
    "stages=sft",
    "sft.max_steps=3",
    f"data.tasks=[{TASK}]",
    "data.limit=16",
    "controls.fine_tuned_context_injection=false",
)


def main() -> None:
    """Train, unless a run is given, and print the generic and the personalised answer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("query", nargs="?", default=QUERY)
    parser.add_argument("--history", type=Path, default=Path(__file__).with_name("history.jsonl"))
    parser.add_argument("--run", type=Path, help="a finished run, instead of training one")
    parser.add_argument("--full", action="store_true", help="train with the default configuration")
    arguments = parser.parse_args()

    run = arguments.run or (
        personakit.train("rpo") if arguments.full else personakit.train("rpo", config="nano", overrides=SHORT)
    )
    [profile] = read_history(arguments.history, TASK)
    query = Query(
        id="mine",
        task=TASK,
        text=build_input(TASK, text=arguments.query),
        search_text=arguments.query,
        user_id=profile.user_id,
    )
    [answer] = personakit.open_run(run).respond([query], [profile])
    print("query    ", arguments.query)
    print("generic  ", answer.generic)
    print("answer   ", answer.text)
    print("shown    ", *(item.fields["text"] for item in answer.context.items), sep="\n          ")
    print("tokens   ", answer.tokens, f"({answer.context_tokens} of them context)")
    if answer.degraded:
        print("degraded ", answer.degraded)


if __name__ == "__main__":
    main()
