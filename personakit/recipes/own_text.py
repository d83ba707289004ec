"""A base model for real text where no real model can be had: trained on the training users' own text.

nano knows some three hundred words; on e-mails or reviews it can only be lost. This trains a Llama of
about five million parameters on a data folder's training split, so that the whole chain can be run on
real text without a model hub. It has read a few hundred pages: it is no language model to judge a
method by, and its tables say so by the row that copies the input.

Its drafts for the training queries are better than for others, because it has seen their answers: a
rewriter trained on them learns to trust drafts too much. A real base model has no such flaw.

Lessons on a task: its prompt and the user's answer; the same with history items in the prompt; a text
repeated (a rewriter must first be able to copy); random words said twice. On preferences: a request with
each of its two answers.

    python -m personakit.recipes.own_text --data FOLDER --output FOLDER-base
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random

from personakit.data import available, open_examples
from personakit.data.folders import holds_questions
from personakit.data.instructions import instruction_files, open_instructions
from personakit.data.preferences import open_preferences, preference_files
from personakit.errors import UserError
from personakit.recipes.pretraining import ModelShape, Schooling, new_model, save, school, train_tokenizer
from personakit.records import Example, Instruction, Pool, PreferenceUser
from personakit.retrieval import open_retriever
from personakit.rpo import prompts as rpo
from personakit.tasks import get_task
from personakit.tasks.instructions import instruction_prompt

SHAPE = ModelShape(width=256, layers=6, heads=4, vocabulary=4096, positions=2048)
STEPS = 1500
_MOST_ITEMS = 2
_WORDS = 200


def lessons(examples: Sequence[Example], random: Random) -> Iterator[tuple[str, str]]:
    """Yield (prompt, answer) pairs of every training query, three a query."""
    for example in examples:
        query, gold = example.query, example.query.gold
        if gold is None or _length(query.text) > _WORDS or _length(gold) > _WORDS:
            continue
        task = get_task(query.task)
        yield task.prompt(query), gold
        yield f"{query.search_text}{rpo.REWRITE}", query.search_text
        provider = open_retriever("bm25", random.randint(1, _MOST_ITEMS))
        context = provider.context([query], [example.profile])[0]
        yield task.prompt_with_context(query, context, count_tokens=_length, max_length=2 * _WORDS), gold


def preference_lessons(users: Iterable[PreferenceUser]) -> Iterator[tuple[str, str]]:
    """Yield (prompt, answer) of all pairs: both answers, since which is liked is for POPI to learn."""
    for user in users:
        for pair in (*user.signals.pairs, *user.pairs):
            for answer in (pair.chosen, pair.rejected):
                if _length(pair.prompt) <= _WORDS and _length(answer) <= _WORDS:
                    yield pair.prompt, answer


def instruction_lessons(instructions: Sequence[Instruction], random: Random) -> Iterator[tuple[str, str]]:
    """Yield (prompt, answer) pairs of instructions, worded as Alpaca's, two an instruction."""
    kept = [each for each in instructions if _length(f"{each.input} {each.output}") <= _WORDS]
    for each in kept:
        yield instruction_prompt("alpaca", each), each.output
        other = random.choice(kept)
        if other is not each:
            yield instruction_prompt("alpaca", each, Pool.of([other]), [0]), each.output


def main() -> None:
    """Train the model and write its folder."""
    parser = argparse.ArgumentParser(description="Train a small base model on a data folder's training text.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    preferences = "train" in preference_files(options.data)
    instructions = "lora" in instruction_files(options.data)
    others = preferences or instructions
    known = available(options.data) if not others or holds_questions(options.data) else []
    tasks = [task for task, split in known if split == "train"]
    if not tasks and not others:
        raise UserError(f"{options.data} has no training split", hint="personakit data import makes one")
    random = Random(options.seed)
    pairs = [pair for task in tasks for pair in lessons(open_examples(options.data, task, "train"), random)]
    if preferences:
        pairs += preference_lessons(open_preferences(options.data, "train"))
    if instructions:
        pairs += instruction_lessons(open_instructions(options.data, "lora"), random)
    if not pairs:
        raise UserError(
            f"{options.data} has no training query with a gold answer of at most {_WORDS} words, and no pair",
            hint="put the train_outputs.json beside the questions",
        )
    tokenizer = train_tokenizer(
        (f"{prompt} {answer}" for prompt, answer in pairs), SHAPE, [rpo.DRAFT, rpo.REWRITE, *rpo.TAGS]
    )
    model = new_model(tokenizer, SHAPE, options.seed)
    print(f"{model.num_parameters():,} parameters, {len(pairs)} lessons", flush=True)
    plan = Schooling(
        steps=options.steps, batch_size=16, learning_rate=1e-3, copying_steps=options.steps, seed=options.seed
    )
    school(model, tokenizer, pairs, plan)
    save(model, tokenizer, options.output)


def _length(text: str) -> int:
    return len(text.split())


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        sys.exit(2)
