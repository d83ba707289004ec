"""Baselines: Personalizers that need no training.

Each covers every task, so that means over tasks are comparable. Where a baseline's idea does not apply to a
task (the mode of a title), its docstring says what it does instead. Fine-tuned context injection is
`ContextInjection` over a fine-tuned model.
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
from personakit.models.clock import GenerationTimer
from personakit.models.refusal import answer_marks, no_answer_reason, refusal_reason
from personakit.models.windows import prompt_limit, unread_tokens
from personakit.records import Answer, Context, Example, Profile, ProfileItem, Query
from personakit.tasks import get_task
from personakit.tasks.answers import extract_answer, own_texts
from personakit.tasks.profile_prompt import truncate


@dataclass(frozen=True, slots=True)
class DecodingOptions:
    """Decoding settings. Temperature 0 is greedy; `max_new_tokens` None takes the task's default."""

    max_new_tokens: int | None = None
    temperature: float = 0.0
    seed: int = 0


class _RuleBaseline:
    """A baseline without a model. It answers by rule and has no probabilities."""

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Return one answer per (query, profile). Token counts are 0."""
        return [
            Answer(text=self.answer(query, profile)) for query, profile in zip(queries, profiles, strict=True)
        ]

    def answer(self, query: Query, profile: Profile) -> str:
        """Return the answer to one query."""
        raise NotImplementedError

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Raise `UserError`: this baseline has no model."""
        raise UserError(
            f"the baseline {type(self).__name__} cannot score texts: no model is behind it",
            hint="compare probabilities with a baseline that has a model, such as generic",
        )


class CopyInput(_RuleBaseline):
    """Copies the part of the input that the query is about: the tweet, the article, the original text."""

    def answer(self, query: Query, profile: Profile) -> str:
        """Return the query text without the benchmark's template."""
        return query.search_text


@dataclass(frozen=True)
class MajorityClass(_RuleBaseline):
    """Predicts the most frequent gold label of the training split. Without labels, it copies the input.

    `classes` maps a task to its most frequent label.
    """

    classes: Mapping[str, str]

    @classmethod
    def from_examples(cls, examples: Iterable[Example]) -> MajorityClass:
        """Count the gold labels of training examples. Ties go to the earlier label in the task's list."""
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
class ProfileMode(_RuleBaseline):
    """Predicts the user's most frequent label. Ties go to the earlier label in the task's list.

    If the profile holds no label (it is empty, or the task is LaMP-1), it predicts the training split's
    majority class. In generation tasks it returns the user's most recent text: the user's style with the
    wrong content. If the profile is empty, it copies the input.
    """

    majority: MajorityClass

    def answer(self, query: Query, profile: Profile) -> str:
        """Return the profile's most frequent label."""
        outputs = [item_output(query.task, item).strip() for item in profile.items]
        labels = task_format(query.task).labels
        known = [output for output in outputs if output in labels]
        if known:
            return self.predict_from(known, query.task)
        if labels or not outputs:
            return self.majority.answer(query, profile)
        return outputs[_most_recent(profile)]

    def predict_from(self, labels: Sequence[str], task: str) -> str:
        """Return the label to predict, given all labels in the profile."""
        return _most_frequent(Counter(labels), task)


@dataclass(frozen=True)
class ProfileMean(ProfileMode):
    """`ProfileMode`, but predicts the user's mean rating in LaMP-3.

    The mean is not rounded: LaMP scores `float(prediction)`, and rounding would lose information.
    """

    def predict_from(self, labels: Sequence[str], task: str) -> str:
        """Return the mean of ratings, or the mode of other labels."""
        if get_task(task).kind == "ordinal":
            return f"{fmean(map(float, labels)):.4f}"
        return super().predict_from(labels, task)


@dataclass(frozen=True)
class KnownAnswers(_RuleBaseline):
    """Answers that are known without a model: those of an oracle, or of another user.

    `answers` maps query ids to texts. For other queries `otherwise` answers, marked as degraded; without it
    they get an `Answer` with `error` set.
    """

    answers: Mapping[str, str]
    otherwise: _RuleBaseline | None = None

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Look up each answer by query id."""
        return [
            Answer(text=self.answers[query.id])
            if query.id in self.answers
            else Answer(text="", error=f"no answer is known to query {query.id}")
            if self.otherwise is None
            else Answer(text=self.otherwise.answer(query, profile), degraded="no answer is known")
            for query, profile in zip(queries, profiles, strict=True)
        ]


@dataclass(frozen=True)
class Generic:
    """The base model without context: no profile is used."""

    model: LanguageModel
    decoding: DecodingOptions = field(default_factory=DecodingOptions)

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Answer all queries in one model call. Profiles are read for `tasks.answers` only."""
        prompts = [get_task(query.task).prompt(query) for query in queries]
        contexts = [Context()] * len(prompts)
        return _answers(self.model, self.decoding, queries, profiles, prompts, contexts, prompts)

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return log p(text | query) in nats."""
        return self.model.score([get_task(query.task).prompt(query) for query in queries], texts)


@dataclass(frozen=True)
class ContextInjection:
    """LaMP's in-prompt augmentation: profile items in the prompt of a single model call.

    `max_length` is the prompt budget in the model's tokens, divided between input and items as in LaMP
    (512 there). With an empty context the prompt is the task's plain prompt.
    """

    model: LanguageModel
    provider: ContextProvider
    max_length: int = 512
    decoding: DecodingOptions = field(default_factory=DecodingOptions)

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Answer all queries in one model call."""
        plain = [get_task(query.task).prompt(query) for query in queries]
        prompts, contexts = self._prompts(queries, self.provider.context(queries, profiles))
        return _answers(self.model, self.decoding, queries, profiles, prompts, contexts, plain)

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return log p(text | context, query) in nats."""
        return self.model.score(self._prompts(queries, self.provider.context(queries, profiles))[0], texts)

    def _prompts(
        self, queries: Sequence[Query], contexts: Sequence[Context]
    ) -> tuple[list[str], list[Context]]:
        """Return the prompts, and the contexts without the items that did not fit."""
        prompts, shown = [], []
        for query, context in zip(queries, contexts, strict=True):
            prompt, fitting = get_task(query.task).prompt_and_context(
                query,
                context,
                count_tokens=self.model.count_tokens,
                max_length=self.max_length,
                window=prompt_limit(self.model, _answer_length(self.decoding, query)),
            )
            prompts.append(prompt)
            shown.append(fitting)
        return prompts, shown


#: Profile items per extraction prompt, facts per prompt, tokens per reply, facts retrieved per query.
MEMORY_ITEMS, MEMORY_FACTS, MEMORY_TOKENS, MEMORY_FACTS_PER_QUERY = 16, 8, 256, 10
_MEMORY_PROMPT = (
    "Below is what one user wrote earlier. Note at most {facts} short facts about this user that would help "
    "to answer for them: preferences, habits, tone, favourite words, how they judge. One fact a line, and "
    "nothing else.\n\n{items}\n\nFacts:\n"
)
NOTES_REFUSED = "the model refused to note facts about the user"
_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s*")


@dataclass(frozen=True)
class Memory:
    """A memory layer (as mem0): the model extracts facts from the profile once; queries retrieve from them.

    The model reads the profile in chunks and lists facts. Per query, the best facts by BM25 precede the
    prompt. Unlike mem0, new facts are not merged with old ones, and retrieval uses BM25 instead of
    embeddings. Each call of `respond` extracts facts once per user; the first answer that uses them carries
    their tokens.
    """

    model: LanguageModel
    max_length: int = 512
    decoding: DecodingOptions = field(default_factory=DecodingOptions)

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Extract facts from each distinct profile, then answer all queries in one model call."""
        clock = GenerationTimer(self.model)
        facts, cost, refused, failed = self._notes(queries, profiles)
        contexts = self._contexts(queries, profiles, facts)
        seconds = clock.seconds() / max(1, len(queries))
        plain = [get_task(query.task).prompt(query) for query in queries]
        prompts = self._prompts(queries, contexts)
        answers = _answers(self.model, self.decoding, queries, profiles, prompts, contexts, plain)
        uncounted = dict(cost)
        return [
            replace(
                answer,
                tokens=answer.tokens + uncounted.pop(_profile_key(query, profile), 0),
                seconds=answer.seconds + seconds,
                degraded=NOTES_REFUSED if _profile_key(query, profile) in refused else None,
                error=answer.error or failed.get(_profile_key(query, profile)),
            )
            for query, profile, answer in zip(queries, profiles, answers, strict=True)
        ]

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return log p(text | facts, query) in nats."""
        facts, _, _, _ = self._notes(queries, profiles)
        return self.model.score(self._prompts(queries, self._contexts(queries, profiles, facts)), texts)

    def _notes(
        self, queries: Sequence[Query], profiles: Sequence[Profile]
    ) -> tuple[dict[str, list[str]], dict[str, int], set[str], dict[str, str]]:
        """Return facts and token costs by profile key, the keys that the model refused, and failures."""
        prompts: dict[str, list[str]] = {}
        for query, profile in zip(queries, profiles, strict=True):
            key = _profile_key(query, profile)
            if key not in prompts:
                prompts[key] = list(self._extraction_prompts(profile))
        all_prompts = [prompt for own_prompts in prompts.values() for prompt in own_prompts]
        texts = (
            self.model.generate(all_prompts, max_new_tokens=MEMORY_TOKENS, seed=self.decoding.seed)
            if all_prompts
            else []
        )
        replies = dict(zip(all_prompts, (samples[0] for samples in texts), strict=True))
        count = self.model.count_tokens
        facts = {
            key: _facts(replies[prompt] for prompt in own_prompts) for key, own_prompts in prompts.items()
        }
        cost = {
            key: sum(count(prompt) + count(replies[prompt]) for prompt in own_prompts)
            for key, own_prompts in prompts.items()
        }
        refused = {
            key
            for key, own_prompts in prompts.items()
            if any(refusal_reason(replies[prompt]) for prompt in own_prompts)
        }
        failed = {
            key: f"the facts about the user: {reason}"
            for key, own_prompts in prompts.items()
            for prompt in own_prompts
            if (reason := no_answer_reason(replies[prompt]))
        }
        return facts, cost, refused, failed

    def _extraction_prompts(self, profile: Profile) -> Iterator[str]:
        for start in range(0, len(profile.items), MEMORY_ITEMS):
            chunk = profile.items[start : start + MEMORY_ITEMS]
            item_tokens = max(16, self.max_length // len(chunk))
            lines = [
                "- " + truncate(" | ".join(item.fields.values()), item_tokens, self.model.count_tokens)
                for item in chunk
            ]
            yield _MEMORY_PROMPT.format(facts=MEMORY_FACTS, items="\n".join(lines))

    def _contexts(
        self, queries: Sequence[Query], profiles: Sequence[Profile], facts: Mapping[str, list[str]]
    ) -> list[Context]:
        from personakit.retrieval import open_retriever

        memories = [
            Profile(
                profile.user_id,
                tuple(
                    ProfileItem(str(number), {"fact": fact}, fact)
                    for number, fact in enumerate(facts[_profile_key(query, profile)])
                ),
            )
            for query, profile in zip(queries, profiles, strict=True)
        ]
        chosen = open_retriever("bm25", MEMORY_FACTS_PER_QUERY).context(queries, memories)
        return [
            Context(
                summary="What is known of this user:\n"
                + "\n".join(f"- {item.document}" for item in context.items)
            )
            if context.items
            else Context()
            for context in chosen
        ]

    def _prompts(self, queries: Sequence[Query], contexts: Sequence[Context]) -> list[str]:
        return [
            get_task(query.task).prompt_with_context(
                query, context, count_tokens=self.model.count_tokens, max_length=self.max_length
            )
            for query, context in zip(queries, contexts, strict=True)
        ]


def _profile_key(query: Query, profile: Profile) -> str:
    """Return a key of user, task and profile content."""
    content = repr((profile.user_id, query.task, [tuple(item.fields.items()) for item in profile.items]))
    return hashlib.blake2b(content.encode(errors="replace"), digest_size=16).hexdigest()


def _facts(replies: Iterable[str]) -> list[str]:
    """Return the distinct facts in the model's replies, without bullets and numbers."""
    lines = (_BULLET.sub("", line).strip() for reply in replies for line in reply.splitlines()[:MEMORY_FACTS])
    return list(dict.fromkeys(filter(None, lines)))


def _answers(
    model: LanguageModel,
    decoding: DecodingOptions,
    queries: Sequence[Query],
    profiles: Sequence[Profile],
    prompts: Sequence[str],
    contexts: Sequence[Context],
    plain: Sequence[str],
) -> list[Answer]:
    """Generate one answer per prompt. Tokens beyond those of the plain prompt count as context tokens."""
    clock = GenerationTimer(model)
    texts = _generate(model, decoding, queries, prompts)
    seconds = clock.seconds() / max(1, len(prompts))
    answers = []
    for query, profile, text, prompt, plain_prompt, context in zip(
        queries, profiles, texts, prompts, plain, contexts, strict=True
    ):
        task = get_task(query.task)
        prompt_tokens = model.count_tokens(prompt)
        unread = unread_tokens(prompt_tokens, prompt_limit(model, _answer_length(decoding, query)))
        answers.append(
            Answer(
                text=extract_answer(text, task, own_texts(task, query, profile.items)),
                context=context,
                tokens=prompt_tokens - unread + model.count_tokens(text),
                context_tokens=0
                if prompt == plain_prompt
                else max(0, prompt_tokens - model.count_tokens(plain_prompt) - unread),
                prompt_cut=unread,
                seconds=seconds,
                **answer_marks(text),
            )
        )
    return answers


def _generate(
    model: LanguageModel, decoding: DecodingOptions, queries: Sequence[Query], prompts: Sequence[str]
) -> list[str]:
    """Return one text per prompt, with one model call per distinct answer length."""
    lengths = [_answer_length(decoding, query) for query in queries]
    texts = [""] * len(prompts)
    for length in dict.fromkeys(lengths):
        indices = [index for index, other in enumerate(lengths) if other == length]
        answers = model.generate(
            [prompts[index] for index in indices],
            max_new_tokens=length,
            temperature=decoding.temperature,
            seed=decoding.seed,
        )
        for index, samples in zip(indices, answers, strict=True):
            texts[index] = samples[0]
    return texts


def _answer_length(decoding: DecodingOptions, query: Query) -> int:
    return decoding.max_new_tokens or get_task(query.task).max_new_tokens


def _most_frequent(counter: Counter[str], task: str) -> str:
    order = {label: rank for rank, label in enumerate(task_format(task).labels)}
    return min(counter, key=lambda label: (-counter[label], order.get(label, len(order)), label))


def _most_recent(profile: Profile) -> int:
    """Return the index of the newest item. Without dates, that is the last one."""
    return max(range(len(profile.items)), key=lambda index: (profile.items[index].date or "", index))
