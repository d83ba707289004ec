"""The recipe of nano, the built-in model: `make nano`, under half an hour on two cores.

What it is taught, all in the "school" bank of words, which no user of lamp-mini uses:

1. the seven LaMP tasks without a profile: what anyone would answer;
2. the same with a profile in the prompt, as LaMP words it: what this user would answer. In school a
   user's ways are the same on every topic, in lamp-mini they change with it; so nano can read a
   profile, but has never had to ask *which* item of it applies;
3. notices with worked examples before them (PILLOW's task), and without;
4. the form of a rewrite: a draft after the same prompt, the tagged trajectory after it. A large model
   follows such a form when asked; one of a million parameters has to be taught it;
5. copying words of any bank: in half of the samples up to four words are replaced, in prompt and
   answer alike, by words of the other bank, and random words are said twice (`pretraining`). So nano
   has met the benchmark's words, but none of its users' ways.

Fixed wording (LaMP's templates, RPO's tags) is one token each, so that prompts are short.

    python -m personakit.recipes.nano --output personakit/models/nano/weights
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random

from personakit.data.lamp_formats import FORMATS, LAMP_TASKS, profile_item, search_text
from personakit.data.lamp_mini.instructions import NOTICE, OCCASIONS, NoticeStyles, instruction_prompt
from personakit.data.lamp_mini.texts import draw_content
from personakit.data.lamp_mini.traits import Knobs, draw_traits
from personakit.data.lamp_mini.users import make_example
from personakit.data.lamp_mini.words import (
    FILM_KINDS,
    TOPICS,
    content_words,
    methods,
    style_words,
    vocabulary,
)
from personakit.models.nano import FOLDER as NANO_FOLDER
from personakit.recipes.pretraining import ModelShape, Schooling, new_model, save, school, train_tokenizer
from personakit.records import Context, Profile, Query
from personakit.retrieval import open_retriever
from personakit.rpo import prompts as rpo
from personakit.rpo.writer import TemplateWriter
from personakit.tasks import Task, get_task
from personakit.tasks.profile_prompt import JOIN

STEPS = 2100
SHAPE = ModelShape()
_GENERIC_SHARE = 0.25
_NOTICE_SHARE = 1 / 8
_REWRITE_SHARE = 0.3
_NO_HISTORY_SHARE = 0.1
_MOST_ITEMS = 4
_REWORDED_SHARE = 0.5
_SCHOOL = Knobs(noise=0.05, gold_noise=0.0, rating_noise=0.0, history=(4, 10), conditional=False)


def samples(count: int, seed: int) -> Iterator[tuple[str, str]]:
    """Yield (prompt, answer) pairs of the school, some of them with other content words."""
    random = Random(seed)
    for prompt, answer in _lessons(count, random):
        yield _reworded(prompt, answer, random) if random.random() < _REWORDED_SHARE else (prompt, answer)


def _lessons(count: int, random: Random) -> Iterator[tuple[str, str]]:
    """The seven tasks in turn, LaMP-1 three times (it is the hardest to learn), and the notices."""
    retrievers = {k: open_retriever("bm25", k, cached_profiles=1) for k in range(1, _MOST_ITEMS + 1)}
    for number in range(count):
        if random.random() < _NOTICE_SHARE:
            yield _notice(random)
            continue
        task = get_task((*LAMP_TASKS, "LaMP_1", "LaMP_1")[number % 9])
        made = make_example(task.name, random, draw_traits(random, "school", _SCHOOL), "school", _SCHOOL)
        if random.random() < _GENERIC_SHARE:
            yield made.input, made.generic or random.choice(task.labels)
            continue
        query = Query(str(number), task.name, made.input, search_text(task.name, made.input), "u", made.gold)
        profile = Profile("u", tuple(profile_item(task.name, each["id"], each) for each in made.profile))
        context = retrievers[random.randint(1, _MOST_ITEMS)].context([query], [profile])[0]
        if random.random() < _REWRITE_SHARE:
            yield _rewrite(task, query, made.generic or random.choice(task.labels), context, random)
            continue
        yield (
            task.prompt_with_context(query, context, count_tokens=_words, max_length=SHAPE.positions),
            made.gold,
        )


def _rewrite(task: Task, query: Query, draft: str, context: Context, random: Random) -> tuple[str, str]:
    """The draft rewritten, as RPO words it; now and then without a history, where the draft is kept."""
    if random.random() < _NO_HISTORY_SHARE:
        context = Context()
    prompt = rpo.rewriter_prompt(task, query, draft, context, count_tokens=_words, max_length=SHAPE.positions)
    return prompt, TemplateWriter().write(task, query, draft, context, query.gold or "").text()


def _notice(random: Random) -> tuple[str, str]:
    """A notice with a house of its own, so that only worked examples can show how it is written."""
    house = NoticeStyles(random, "school")
    desk, occasion = random.choice(house.desks), random.choice(OCCASIONS)
    content = draw_content(random, random.choice(sorted(TOPICS)), next(iter(FILM_KINDS)))
    asked = house.notice("asked", content, desk, occasion)
    if random.random() < _GENERIC_SHARE:
        return instruction_prompt(asked), house.generic_answer(content)
    shown = [
        house.notice("shown", draw_content(random, random.choice(sorted(TOPICS)), content.kind), *which)
        for which in ((desk, random.choice(OCCASIONS)), (random.choice(house.desks), occasion))
    ]
    random.shuffle(shown)
    return instruction_prompt(asked, shown), asked.output


def _reworded(prompt: str, answer: str, random: Random) -> tuple[str, str]:
    """Replace up to four words of the answer, or of the prompt, wherever they stand."""
    known = {*content_words(), *style_words("school"), *methods("school")}
    there = sorted(known & set(answer.split())) or sorted(known & set(prompt.split()))
    chosen = random.sample(there, min(4, len(there)))
    others = random.sample(style_words("town"), len(chosen))
    for word, other in zip(chosen, others, strict=True):
        prompt, answer = (re.sub(rf"\b{word}\b", other, text) for text in (prompt, answer))
    return prompt, answer


def fixed_wording() -> list[str]:
    """The literals of LaMP's inputs and in-prompt augmentation, of the notices and of RPO's prompt."""
    wordings = [rpo.DRAFT, rpo.REWRITE, *rpo.TAGS, JOIN, NOTICE]
    for name in LAMP_TASKS:
        template = FORMATS[name].template
        for part, text in FORMATS[name].fixed_parts:
            template = template.replace(f"{{{part}}}", text)
        wordings += [template, get_task(name).profile_prompt.item, get_task(name).profile_prompt.frame]
    literals = {piece for wording in wordings for piece in re.split(r'\{\w+\}|"', wording)}
    return sorted((piece for piece in literals if len(piece) >= 5), key=len, reverse=True)


def corpus(seed: int) -> Iterator[str]:
    """What the tokenizer is trained on: every word of both banks in random order, and some of the school."""
    random = Random(seed)
    words = vocabulary()
    for _ in range(20_000):
        yield " ".join(random.sample(words, 8))
    for prompt, answer in samples(2_000, seed):
        yield f"{prompt} {answer}"


def main() -> None:
    """Train nano and write its folder."""
    parser = argparse.ArgumentParser(description="Train nano, the built-in model.")
    parser.add_argument("--output", type=Path, default=NANO_FOLDER)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    plan = Schooling(steps=options.steps, seed=options.seed)
    tokenizer = train_tokenizer(corpus(options.seed), SHAPE, fixed_wording())
    model = new_model(tokenizer, SHAPE, options.seed)
    print(f"{model.num_parameters():,} parameters, {len(tokenizer)} tokens", flush=True)
    school(model, tokenizer, list(samples(plan.steps * plan.batch_size, options.seed + 1)), plan)
    save(model, tokenizer, options.output)


def _words(text: str) -> int:
    return len(text.split())


if __name__ == "__main__":
    main()
