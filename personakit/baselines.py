"""The rows every method is measured against (docs/methods.md): Personalizers without training.

Each covers all tasks, so that means over tasks compare; what it does where its idea has no meaning
(the mode of a title) is said in its docstring. Fine-tuned context injection is `ContextInjection`
over a fine-tuned model.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from personakit.contracts import ContextProvider, LanguageModel
from personakit.data.lamp_formats import item_output, task_format
from personakit.errors import UserError
from personakit.models.clock import Clock
from personakit.models.refusal import refused_by
from personakit.records import Answer, Context, Example, Profile, ProfileItem, Query
from personakit.tasks import get_task
from personakit.tasks.profile_prompt import cut


@dataclass(frozen=True, slots=True)
class DecodingOptions:
    """How a model writes its answers; temperature 0 is greedy, None the task's own length."""

    max_new_tokens: int | None = None
    temperature: float = 0.0
    seed: int = 0


class _Fixed:
    """A baseline that writes its answer without a model, and so has no probabilities."""

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Return one answer per (query, profile); no tokens are spent."""
        return [
            Answer(text=self.answer(query, profile)) for query, profile in zip(queries, profiles, strict=True)
        ]

    def answer(self, query: Query, profile: Profile) -> str:
        """Return the answer to one query."""
        raise NotImplementedError

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Raise `UserError`: there is no model behind this baseline."""
        raise UserError(
            f"the baseline {type(self).__name__} cannot score texts: no model is behind it",
            hint="compare probabilities with a baseline that has a model, such as generic",
        )


class CopyInput(_Fixed):
    """Gives back the part of the input the query is about: the tweet, the article, the original."""

    def answer(self, query: Query, profile: Profile) -> str:
        """Return the query's own text without the benchmark's wording."""
        return query.search_text


@dataclass(frozen=True)
class MajorityClass(_Fixed):
    """The most frequent gold of the training set; where a task has no classes, copies the input.

    `classes` maps a task to its most frequent label.
    """

    classes: Mapping[str, str]

    @classmethod
    def from_examples(cls, examples: Iterable[Example]) -> MajorityClass:
        """Count the golds of training examples; of two labels as frequent, the earlier in the list."""
        counts: dict[str, Counter[str]] = {}
        for example in examples:
            query = example.query
            if query.gold is not None and task_format(query.task).labels:
                counts.setdefault(query.task, Counter())[query.gold.strip()] += 1
        return cls({task: _most_frequent(counter, task) for task, counter in counts.items()})

    def answer(self, query: Query, profile: Profile) -> str:
        """Return the task's majority class."""
        labels = task_format(query.task).labels
        if not labels:
            return query.search_text
        if query.task not in self.classes:
            raise UserError(
                f"no training examples of {query.task} were given to take the majority class from",
                hint="name training data of every task that is evaluated",
            )
        return self.classes[query.task]


@dataclass(frozen=True)
class ProfileMode(_Fixed):
    """The user's most frequent label; of two as frequent, the earlier in the task's list.

    Where the history holds no label (it is empty, or LaMP-1, whose items have none): the majority
    class of training. In generation tasks the user's most recent text, which has the user's way and
    the wrong content; where there is none, a copy of the input.
    """

    majority: MajorityClass

    def answer(self, query: Query, profile: Profile) -> str:
        """Return the profile's most frequent label."""
        outputs = [item_output(query.task, item).strip() for item in profile.items]
        labels = task_format(query.task).labels
        known = [output for output in outputs if output in labels]
        if known:
            return self.typical(known, query.task)
        if labels or not outputs:
            return self.majority.answer(query, profile)
        return outputs[_most_recent(profile)]

    def typical(self, labels: Sequence[str], task: str) -> str:
        """Return the label that stands for the user's."""
        return _most_frequent(Counter(labels), task)


@dataclass(frozen=True)
class ProfileMean(ProfileMode):
    """`ProfileMode`, but the user's mean rating in LaMP-3.

    Not rounded: LaMP scores `float(prediction)`, and rounding would hide what the mean knows.
    """

    def typical(self, labels: Sequence[str], task: str) -> str:
        """Return the mean of ratings, the mode of any other label."""
        if get_task(task).kind == "ordinal":
            return f"{fmean(map(float, labels)):.4f}"
        return super().typical(labels, task)


@dataclass(frozen=True)
class Oracle(_Fixed):
    """Answers from the user's hidden traits: the ceiling, where a benchmark ships it.

    `answers` maps query ids to texts; a query without one is an error in its answer, not a guess.
    """

    answers: Mapping[str, str]

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Look the answers up."""
        return [
            Answer(text=self.answers[query.id])
            if query.id in self.answers
            else Answer(text="", error=f"the oracle has no answer to query {query.id}")
            for query in queries
        ]


@dataclass(frozen=True)
class Generic:
    """The model on the bare query: what anybody would be answered."""

    model: LanguageModel
    decoding: DecodingOptions = field(default_factory=DecodingOptions)

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Answer all queries in one call of the model; the profiles are not read."""
        prompts = [get_task(query.task).prompt(query) for query in queries]
        return _answers(self.model, self.decoding, queries, prompts, [Context()] * len(prompts), prompts)

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return log p(text | query) in nats."""
        return self.model.score([get_task(query.task).prompt(query) for query in queries], texts)


@dataclass(frozen=True)
class ContextInjection:
    """LaMP's in-prompt augmentation: the history in the prompt of a single-step model.

    `max_length` is the prompt's budget in the model's tokens, shared out as LaMP does (512 there). An
    empty history leaves the plain prompt.
    """

    model: LanguageModel
    provider: ContextProvider
    max_length: int = 512
    decoding: DecodingOptions = field(default_factory=DecodingOptions)

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Answer all queries in one call of the model."""
        contexts = self.provider.context(queries, profiles)
        plain = [get_task(query.task).prompt(query) for query in queries]
        prompts = self._prompts(queries, contexts)
        return _answers(self.model, self.decoding, queries, prompts, contexts, plain)

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return log p(text | history, query) in nats."""
        return self.model.score(self._prompts(queries, self.provider.context(queries, profiles)), texts)

    def _prompts(self, queries: Sequence[Query], contexts: Sequence[Context]) -> list[str]:
        return [
            get_task(query.task).prompt(query)
            if context.empty
            else get_task(query.task).prompt_with_context(
                query, context, count_tokens=self.model.count_tokens, max_length=self.max_length
            )
            for query, context in zip(queries, contexts, strict=True)
        ]


#: Items shown to the base at once, facts it may note of them, tokens of its notes, facts pasted in.
MEMORY_ITEMS, MEMORY_FACTS, MEMORY_TOKENS, MEMORY_TOLD = 16, 8, 256, 10
_MEMORY_PROMPT = (
    "Below is what one user wrote earlier. Note at most {facts} short facts about this user that would help "
    "to answer for them: preferences, habits, tone, favourite words, how they judge. One fact a line, and "
    "nothing else.\n\n{items}\n\nFacts:\n"
)
NOTES_REFUSED = "the model refused to note facts about the user"
_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s*")


@dataclass(frozen=True)
class Memory:
    """What a memory layer does (mem0 and its like): facts noted once by the base, pasted into the prompt.

    The base reads a user's items, some at a time, and notes facts; per query the facts nearest to it (BM25)
    stand above the plain prompt. mem0 also merges notes with earlier ones by further calls and finds them by
    embeddings: this is its idea without its upkeep. Notes are made once a user in each call, and their
    tokens are counted with the first answer that needed them.
    """

    model: LanguageModel
    max_length: int = 512
    decoding: DecodingOptions = field(default_factory=DecodingOptions)

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Note what is new of the users, then answer all queries in one call of the model."""
        clock = Clock(self.model)
        noted, cost, refused = self._notes(queries, profiles)
        contexts = self._contexts(queries, profiles, noted)
        seconds = clock.seconds() / max(1, len(queries))
        plain = [get_task(query.task).prompt(query) for query in queries]
        prompts = self._prompts(queries, contexts)
        answers = _answers(self.model, self.decoding, queries, prompts, contexts, plain)
        unpaid = dict(cost)
        return [
            replace(
                answer,
                tokens=answer.tokens + unpaid.pop(_told_by(query, profile), 0),
                seconds=answer.seconds + seconds,
                degraded=NOTES_REFUSED if _told_by(query, profile) in refused else None,
            )
            for query, profile, answer in zip(queries, profiles, answers, strict=True)
        ]

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return log p(text | facts, query) in nats."""
        noted, _, _ = self._notes(queries, profiles)
        return self.model.score(self._prompts(queries, self._contexts(queries, profiles, noted)), texts)

    def _notes(
        self, queries: Sequence[Query], profiles: Sequence[Profile]
    ) -> tuple[dict[str, list[str]], dict[str, int], set[str]]:
        """The facts of each history, by its content, the tokens that took, and of which some were refused."""
        prompts: dict[str, list[str]] = {}
        for query, profile in zip(queries, profiles, strict=True):
            key = _told_by(query, profile)
            if key not in prompts:
                prompts[key] = list(self._questions(profile))
        asked = [prompt for some in prompts.values() for prompt in some]
        texts = (
            self.model.generate(asked, max_new_tokens=MEMORY_TOKENS, seed=self.decoding.seed) if asked else []
        )
        replies = dict(zip(asked, (samples[0] for samples in texts), strict=True))
        count = self.model.count_tokens
        facts = {key: _facts(replies[prompt] for prompt in some) for key, some in prompts.items()}
        cost = {
            key: sum(count(prompt) + count(replies[prompt]) for prompt in some)
            for key, some in prompts.items()
        }
        refused = {
            key for key, some in prompts.items() if any(refused_by(replies[prompt]) for prompt in some)
        }
        return facts, cost, refused

    def _questions(self, profile: Profile) -> Iterator[str]:
        for start in range(0, len(profile.items), MEMORY_ITEMS):
            some = profile.items[start : start + MEMORY_ITEMS]
            room = max(16, self.max_length // len(some))
            told = [
                "- " + cut(" | ".join(item.fields.values()), room, self.model.count_tokens) for item in some
            ]
            yield _MEMORY_PROMPT.format(facts=MEMORY_FACTS, items="\n".join(told))

    def _contexts(
        self, queries: Sequence[Query], profiles: Sequence[Profile], noted: Mapping[str, list[str]]
    ) -> list[Context]:
        from personakit.retrieval import open_retriever

        memories = [
            Profile(
                profile.user_id,
                tuple(
                    ProfileItem(str(place), {"fact": fact}, fact)
                    for place, fact in enumerate(noted[_told_by(query, profile)])
                ),
            )
            for query, profile in zip(queries, profiles, strict=True)
        ]
        chosen = open_retriever("bm25", MEMORY_TOLD).context(queries, memories)
        return [
            Context(
                summary="What is known of this user:\n" + "\n".join(f"- {one.document}" for one in some.items)
            )
            if some.items
            else Context()
            for some in chosen
        ]

    def _prompts(self, queries: Sequence[Query], contexts: Sequence[Context]) -> list[str]:
        return [
            get_task(query.task).prompt_with_context(
                query, context, count_tokens=self.model.count_tokens, max_length=self.max_length
            )
            for query, context in zip(queries, contexts, strict=True)
        ]


def _told_by(query: Query, profile: Profile) -> str:
    """What a history is known by: its user and what it says."""
    told = repr((profile.user_id, query.task, [tuple(item.fields.items()) for item in profile.items]))
    return hashlib.blake2b(told.encode(errors="replace"), digest_size=16).hexdigest()


def _facts(replies: Iterable[str]) -> list[str]:
    """The facts in the base's notes, each once, without bullets and numbers."""
    lines = (_BULLET.sub("", line).strip() for reply in replies for line in reply.splitlines()[:MEMORY_FACTS])
    return list(dict.fromkeys(filter(None, lines)))


def _answers(
    model: LanguageModel,
    decoding: DecodingOptions,
    queries: Sequence[Query],
    prompts: Sequence[str],
    contexts: Sequence[Context],
    plain: Sequence[str],
) -> list[Answer]:
    """Generate one answer a prompt; what a prompt has beyond the plain one counts as context."""
    clock = Clock(model)
    texts = _generate(model, decoding, queries, prompts)
    seconds = clock.seconds() / max(1, len(prompts))
    answers = []
    for query, text, prompt, bare, context in zip(queries, texts, prompts, plain, contexts, strict=True):
        prompt_tokens = model.count_tokens(prompt)
        answers.append(
            Answer(
                text=_clean(query, text),
                context=context,
                tokens=prompt_tokens + model.count_tokens(text),
                context_tokens=0 if prompt == bare else prompt_tokens - model.count_tokens(bare),
                seconds=seconds,
                refused=refused_by(text),
            )
        )
    return answers


def _generate(
    model: LanguageModel, decoding: DecodingOptions, queries: Sequence[Query], prompts: Sequence[str]
) -> list[str]:
    """Return one text a prompt, in one call for all queries that may be answered at the same length."""
    lengths = [decoding.max_new_tokens or get_task(query.task).max_new_tokens for query in queries]
    texts = [""] * len(prompts)
    for length in dict.fromkeys(lengths):
        places = [place for place, its_length in enumerate(lengths) if its_length == length]
        answers = model.generate(
            [prompts[place] for place in places],
            max_new_tokens=length,
            temperature=decoding.temperature,
            seed=decoding.seed,
        )
        for place, samples in zip(places, answers, strict=True):
            texts[place] = samples[0]
    return texts


def _clean(query: Query, text: str) -> str:
    """Take the answer out of a model's text; one that cannot be parsed stays, and scores as it is."""
    parsed = get_task(query.task).parse(text)
    return text.strip() if parsed is None else parsed


def _most_frequent(counter: Counter[str], task: str) -> str:
    order = {label: place for place, label in enumerate(task_format(task).labels)}
    return min(counter, key=lambda label: (-counter[label], order.get(label, len(order)), label))


def _most_recent(profile: Profile) -> int:
    """Return the place of the newest item; without dates, the last in the file."""
    return max(range(len(profile.items)), key=lambda place: (profile.items[place].date or "", place))
