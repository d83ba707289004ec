"""Trains a base model from scratch on the training split of a data folder, for use without a model hub.

nano reads nothing but lamp-mini. This recipe trains a Llama with about
five million parameters on a data folder's training split, so that all of personakit can run on real text. The
model has seen only a few hundred pages and is too weak to judge methods by; compare its results with the
baseline that copies the input.

Its drafts for training queries are better than for others, because it was trained on their answers. A
rewriter trained on these drafts learns to trust drafts too much. A pretrained base model does not have this
problem.

Training data for a task: its prompt and the user's answer; the same with profile items in the prompt; a text
and its copy (a rewriter must be able to copy); and repeated random words. For preferences: a request with
each of its two answers.

    python -m personakit.recipes.own_text --data FOLDER --output FOLDER-base
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random

from personakit.data import open_examples
from personakit.data.folders import all_tasks, holds_questions
from personakit.data.instructions import instruction_files, open_instructions
from personakit.data.preferences import open_preferences, preference_files
from personakit.errors import UserError
from personakit.recipes.pretraining import ModelShape, TrainingPlan, new_model, save, train, train_tokenizer
from personakit.records import Example, Instruction, Pool, PreferenceUser
from personakit.retrieval import open_retriever
from personakit.rpo import prompts as rpo
from personakit.tasks import get_task
from personakit.tasks.instructions import instruction_prompt

SHAPE = ModelShape(width=256, layers=6, heads=4, vocabulary=4096, positions=2048)
STEPS = 1500
_MAX_ITEMS = 2
_MAX_WORDS = 200


def task_pairs(examples: Sequence[Example], random: Random) -> Iterator[tuple[str, str]]:
    """Yield (prompt, answer) pairs, three per training query."""
    for example in examples:
        query, gold = example.query, example.query.gold
        if gold is None or _count_words(query.text) > _MAX_WORDS or _count_words(gold) > _MAX_WORDS:
            continue
        task = get_task(query.task)
        yield task.prompt(query), gold
        yield f"{query.search_text}{rpo.REWRITE}", query.search_text
        provider = open_retriever("bm25", random.randint(1, _MAX_ITEMS))
        context = provider.context([query], [example.profile])[0]
        yield (
            task.prompt_with_context(query, context, count_tokens=_count_words, max_length=2 * _MAX_WORDS),
            gold,
        )


def preference_pairs(users: Iterable[PreferenceUser]) -> Iterator[tuple[str, str]]:
    """Yield (prompt, answer) for both answers of every pair. Preferring one of them is left to POPI."""
    for user in users:
        for pair in (*user.signals.pairs, *user.pairs):
            for answer in (pair.chosen, pair.rejected):
                if _count_words(pair.prompt) <= _MAX_WORDS and _count_words(answer) <= _MAX_WORDS:
                    yield pair.prompt, answer


def instruction_pairs(instructions: Sequence[Instruction], random: Random) -> Iterator[tuple[str, str]]:
    """Yield (prompt, answer) pairs of instructions in Alpaca's template, two per instruction."""
    short_instructions = [
        instruction
        for instruction in instructions
        if _count_words(f"{instruction.input} {instruction.output}") <= _MAX_WORDS
    ]
    for instruction in short_instructions:
        yield instruction_prompt("alpaca", instruction), instruction.output
        example = random.choice(short_instructions)
        if example is not instruction:
            yield instruction_prompt("alpaca", instruction, Pool.of([example]), [0]), instruction.output


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
    has_other_data = preferences or instructions
    has_questions = not has_other_data or holds_questions(options.data)
    tasks = all_tasks(options.data, "train") if has_questions else []
    if not tasks and not has_other_data:
        raise UserError(
            f"{options.data} has no training split", hint="create one with `personakit data import`"
        )
    random = Random(options.seed)
    pairs = [
        pair for task in tasks for pair in task_pairs(open_examples(options.data, task, "train"), random)
    ]
    if preferences:
        pairs += preference_pairs(open_preferences(options.data, "train"))
    if instructions:
        pairs += instruction_pairs(open_instructions(options.data, "lora"), random)
    if not pairs:
        raise UserError(
            f"{options.data} has no training query with a gold answer of at most {_MAX_WORDS} words "
            "and no preference pair",
            hint="put train_outputs.json next to the questions",
        )
    tokenizer = train_tokenizer(
        (f"{prompt} {answer}" for prompt, answer in pairs), SHAPE, [rpo.DRAFT, rpo.REWRITE, *rpo.TAGS]
    )
    model = new_model(tokenizer, SHAPE, options.seed)
    print(f"{model.num_parameters():,} parameters, {len(pairs)} lessons", flush=True)
    plan = TrainingPlan(
        steps=options.steps, batch_size=16, learning_rate=1e-3, copying_steps=options.steps, seed=options.seed
    )
    train(model, tokenizer, pairs, plan)
    save(model, tokenizer, options.output)


def _count_words(text: str) -> int:
    return len(text.split())


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        sys.exit(2)
