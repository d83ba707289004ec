"""The recipe of nano, the built-in model: `make nano`, less than half an hour on two cores.

The training data uses the phrases of lamp-mini's training users, which no dev or test user has:

1. The seven LaMP tasks without a profile, with the generic answer.
2. The same with a profile in LaMP's prompt template, with the user's answer. Here a user's traits are the
   same for all topics, while in lamp-mini they depend on the topic. So nano can use a profile, but has not
   learned to decide *which* of its items apply.
3. Notices (PILLOW's task) with and without worked examples.
4. The format of RPO's rewriter: a draft after the prompt, then the tagged trajectory. A large model follows
   such a format when asked; a model with a million parameters must be trained on it.
5. Copying: in half of the samples, up to four words in prompt and answer are replaced by any other words, and
   random words are repeated (`pretraining`). So nano copies phrases that it has never seen.

Fixed wording (LaMP's templates, RPO's tags) consists of single tokens, which keeps prompts short.

    python -m personakit.recipes.nano --output personakit/models/nano/weights
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random

from personakit.data.lamp_formats import FORMATS, LAMP_TASKS, profile_item, search_text
from personakit.data.lamp_mini.instructions import NOTICE, NoticeStyles, instruction_prompt, occasions
from personakit.data.lamp_mini.style import capitalized
from personakit.data.lamp_mini.texts import draw_content
from personakit.data.lamp_mini.traits import Knobs, draw_traits
from personakit.data.lamp_mini.users import make_example
from personakit.data.lamp_mini.words import topics, vocabulary, words_of
from personakit.models.nano import FOLDER as NANO_FOLDER
from personakit.recipes.pretraining import ModelShape, TrainingPlan, new_model, save, train, train_tokenizer
from personakit.records import Context, Instruction, Profile, Query
from personakit.retrieval import open_retriever
from personakit.rpo import prompts as rpo
from personakit.rpo.writer import DECIDE, KEEP, NOTHING, TemplateWriter, TrajectoryRequest
from personakit.tasks import Task, get_task
from personakit.tasks.profile_prompt import JOIN

STEPS = 1800
SHAPE = ModelShape(vocabulary=4096)
_GENERIC_SHARE = 0.25
_NOTICE_SHARE = 1 / 8
_REWRITE_SHARE = 0.3
_NO_HISTORY_SHARE = 0.1
_MAX_ITEMS = 4
_OTHER_WORDS_SHARE = 0.5
_KNOBS = Knobs(noise=0.05, gold_noise=0.0, rating_noise=0.0, history=(4, 10), conditional=False)


def samples(count: int, seed: int) -> Iterator[tuple[str, str]]:
    """Yield (prompt, answer) pairs of training data, some with words of the other bank."""
    random = Random(seed)
    for prompt, answer in _training_pairs(count, random):
        yield (
            _with_other_words(prompt, answer, random)
            if random.random() < _OTHER_WORDS_SHARE
            else (prompt, answer)
        )


def _training_pairs(count: int, random: Random) -> Iterator[tuple[str, str]]:
    """Cycle through the seven tasks, with LaMP-1, the hardest to learn, three times, and mix in notices."""
    retrievers = {k: open_retriever("bm25", k, cached_profiles=1) for k in range(1, _MAX_ITEMS + 1)}
    for number in range(count):
        if random.random() < _NOTICE_SHARE:
            yield _notice(random)
            continue
        task = get_task((*LAMP_TASKS, "LaMP_1", "LaMP_1")[number % 9])
        generated = make_example(task.name, random, draw_traits(random, "train", _KNOBS), "train", _KNOBS)
        if random.random() < _GENERIC_SHARE:
            yield generated.input, generated.generic or random.choice(task.labels)
            continue
        query = Query(
            str(number),
            task.name,
            generated.input,
            search_text(task.name, generated.input),
            "u",
            generated.gold,
        )
        profile = Profile("u", tuple(profile_item(task.name, item["id"], item) for item in generated.profile))
        context = retrievers[random.randint(1, _MAX_ITEMS)].context([query], [profile])[0]
        if random.random() < _REWRITE_SHARE:
            yield _rewrite(task, query, generated.generic or random.choice(task.labels), context, random)
            continue
        yield (
            task.prompt_with_context(query, context, count_tokens=_count_words, max_length=SHAPE.positions),
            generated.gold,
        )


def _rewrite(task: Task, query: Query, draft: str, context: Context, random: Random) -> tuple[str, str]:
    """Return a draft and its rewrite in RPO's format. Some have no profile; then the draft is kept."""
    dropped = random.random() < _NO_HISTORY_SHARE
    if dropped:
        context = Context()
    prompt = rpo.rewriter_prompt(
        task, query, draft, context, count_tokens=_count_words, max_length=SHAPE.positions
    )
    request = TrajectoryRequest(task, query, draft, context, query.gold or "", keep_draft=dropped)
    return prompt, TemplateWriter().write(request).text()


def _notice(random: Random) -> tuple[str, str]:
    """Return a notice with newly drawn styles, so that only the worked examples show how to write it."""
    styles = NoticeStyles(random)

    def notice(identity: str, department: str, occasion: str) -> Instruction:
        content = draw_content(random, "LaMP_4", random.choice(topics()))
        return styles.notice(identity, content, department, occasion)

    department, occasion = random.choice(styles.lora_departments), random.choice(occasions())
    content = draw_content(random, "LaMP_4", random.choice(topics()))
    target = styles.notice("asked", content, department, occasion)
    if random.random() < _GENERIC_SHARE:
        return instruction_prompt(target), f"{styles.generic_answer(content)}."
    examples = [
        notice("shown", department, random.choice(occasions())),
        notice("shown", random.choice(styles.lora_departments), occasion),
    ]
    random.shuffle(examples)
    return instruction_prompt(target, examples), target.output


def _with_other_words(prompt: str, answer: str, random: Random) -> tuple[str, str]:
    """Replace up to four words that prompt and answer share by other words, in both texts."""
    shared = sorted({word for word in re.findall(r"[A-Za-z]{4,}", answer) if word.lower() in _replaceable()})
    for word in random.sample(shared, min(4, len(shared))):
        other = random.choice(vocabulary())
        other = capitalized(other) if word[0].isupper() else other
        prompt, answer = (re.sub(rf"\b{word}\b", other, text) for text in (prompt, answer))
    return prompt, answer


@cache
def _replaceable() -> frozenset[str]:
    """Return the words of contents and phrases that occur in no fixed wording, label or plan."""
    fixed = [*fixed_literals(), KEEP, DECIDE, NOTHING, "add drop replace before after within start"]
    fixed += [label for name in LAMP_TASKS for label in get_task(name).labels]
    return frozenset(vocabulary()) - {word for text in fixed for word in words_of(text)}


def fixed_literals() -> list[str]:
    """Return the literals of LaMP's inputs and in-prompt augmentation, of the notices and of RPO's prompt."""
    templates = [rpo.DRAFT, rpo.REWRITE, *rpo.TAGS, JOIN, NOTICE]
    for name in LAMP_TASKS:
        template = FORMATS[name].template
        for part, text in FORMATS[name].fixed_parts:
            template = template.replace(f"{{{part}}}", text)
        templates += [template, get_task(name).profile_prompt.item, get_task(name).profile_prompt.frame]
    literals = {piece for wording in templates for piece in re.split(r'\{\w+\}|"', wording)}
    return sorted((piece for piece in literals if len(piece) >= 5), key=len, reverse=True)


def corpus(seed: int) -> Iterator[str]:
    """Yield the tokenizer's training texts: all words in random order, and training pairs."""
    random = Random(seed)
    words = vocabulary()
    for _ in range(20_000):
        yield " ".join(
            capitalized(word) if random.random() < 0.3 else word for word in random.sample(words, 8)
        )
    for prompt, answer in samples(2_000, seed):
        yield f"{prompt} {answer}"


def main() -> None:
    """Train nano and write its folder."""
    parser = argparse.ArgumentParser(description="Train nano, the built-in model.")
    parser.add_argument("--output", type=Path, default=NANO_FOLDER)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    plan = TrainingPlan(steps=options.steps, seed=options.seed)
    tokenizer = train_tokenizer(corpus(options.seed), SHAPE, fixed_literals())
    model = new_model(tokenizer, SHAPE, options.seed)
    print(f"{model.num_parameters():,} parameters, {len(tokenizer)} tokens", flush=True)
    train(model, tokenizer, list(samples(plan.steps * plan.batch_size, options.seed + 1)), plan)
    save(model, tokenizer, options.output)


def _count_words(text: str) -> int:
    return len(text.split())


if __name__ == "__main__":
    main()
