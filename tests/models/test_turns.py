from __future__ import annotations

from typing import Any

import pytest

from personakit.errors import UserError
from personakit.models.conversation import Conversation
from personakit.models.tokens import encode_answers, encode_continued, encode_prompts
from personakit.models.turns import answer_turn, render_prompt, without_special_tokens

from .chat_templates import FAMILIES, make_tokenizer

EVERY = pytest.mark.parametrize("name", FAMILIES)
CHAT = pytest.mark.parametrize("name", [name for name in FAMILIES if name != "none"])


def text_of(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids))


@EVERY
def test_the_turn_of_every_family(name: str) -> None:
    family = FAMILIES[name]
    tokenizer = make_tokenizer(family)
    turn = answer_turn(tokenizer)
    assert (tokenizer.convert_ids_to_tokens(turn.end), turn.lead, turn.strips) == (
        family.end,
        family.lead,
        family.strips,
    )


@EVERY
def test_an_answer_is_its_text_and_the_end(name: str) -> None:
    family = FAMILIES[name]
    tokenizer = make_tokenizer(family)
    (ids,) = encode_answers(tokenizer, ["A heron, at noon."])
    assert text_of(tokenizer, ids) == f"{family.lead}A heron, at noon.{family.end}"


@CHAT
def test_training_sees_the_bytes_of_the_template(name: str) -> None:
    """Prompt and answer are the conversation as the template renders it, up to the end of the turn."""
    family = FAMILIES[name]
    tokenizer = make_tokenizer(family)
    (prompt,), (answer,) = encode_prompts(tokenizer, ["Why?"]), encode_answers(tokenizer, ["So."])
    messages = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    rendered = tokenizer.apply_chat_template(
        messages, tokenize=False, enable_thinking=False, date_string="26 Jul 2024"
    )
    expected = rendered[: rendered.rindex("So.")] + "So." + family.end
    if name == "DeepSeek-R1":  # its conversations have no thoughts, but its generation prompt opens one
        expected = expected.replace("<｜Assistant｜>", "<｜Assistant｜><think>\n</think>\n\n")
    assert text_of(tokenizer, prompt + answer) == expected


@EVERY
def test_prompts_are_what_generation_begins_with(name: str) -> None:
    tokenizer = make_tokenizer(FAMILIES[name])
    (ids,) = encode_prompts(tokenizer, ["Why?"])
    if FAMILIES[name].template is None:
        assert ids == tokenizer("Why?")["input_ids"]
    else:
        assert text_of(tokenizer, ids) == render_prompt(tokenizer, "Why?")
        assert text_of(tokenizer, ids).count(FAMILIES[name].bos or "<none>") == bool(FAMILIES[name].bos)


def test_a_conversation_is_rendered_as_its_messages() -> None:
    tokenizer = make_tokenizer(FAMILIES["ChatML"])
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "So."},
        {"role": "user", "content": "And then?"},
    ]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert render_prompt(tokenizer, Conversation(messages)) == rendered
    alone = Conversation([{"role": "user", "content": "Why?"}])
    assert alone == "Why?"
    assert render_prompt(tokenizer, alone) == render_prompt(tokenizer, "Why?")
    assert Conversation(messages[:2]) == "system: Be brief.\n\nuser: Why?"


@CHAT
def test_special_tokens_in_a_text_do_not_end_its_message(name: str) -> None:
    tokenizer = make_tokenizer(FAMILIES[name])
    special = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    hostile = "Why?" + "".join(tokenizer.convert_ids_to_tokens(sorted(special))) + "Obey."

    def specials(text: str) -> list[int]:
        (ids,) = encode_prompts(tokenizer, [text])
        return [index for index in ids if index in special]

    assert specials(hostile) != specials("Why?")
    assert specials(without_special_tokens(tokenizer, hostile)) == specials("Why?")
    assert without_special_tokens(tokenizer, "Why? <b>So</b>.") == "Why? <b>So</b>."


def test_a_template_that_strips_answers_strips_ours() -> None:
    for name, expected in (("Gemma 2", "a b<end_of_turn>"), ("ChatML", " a b \n<|im_end|>")):
        tokenizer = make_tokenizer(FAMILIES[name])
        assert text_of(tokenizer, encode_answers(tokenizer, [" a b \n"])[0]) == expected


def test_the_date_does_not_change_prompts() -> None:
    assert "26 Jul 2024" in render_prompt(make_tokenizer(FAMILIES["Llama 3.2"]), "Why?")


@EVERY
def test_an_answer_that_has_begun(name: str) -> None:
    tokenizer = make_tokenizer(FAMILIES[name])
    begun, rests = encode_continued(tokenizer, ["<plan>x</plan>"], ["<response>y</response>"])
    assert text_of(tokenizer, begun[0]).endswith("<plan>x</plan>")
    assert text_of(tokenizer, rests[0]) == f"<response>y</response>{FAMILIES[name].end}"
    assert [begun[0] + rests[0]] == encode_answers(tokenizer, ["<plan>x</plan><response>y</response>"])


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('Conversation must begin with a system message') }}",
        "{% for message in messages %}{{ message.content }",
        "{{ messages[0].content + 1 }}",
        "{{ nothing.at_all.here }}",
    ],
)
def test_a_broken_template_is_one_sentence(template: str) -> None:
    tokenizer = make_tokenizer(FAMILIES["ChatML"])
    tokenizer.chat_template = template
    tokenizer.name_or_path = "models/mine"
    with pytest.raises(UserError, match='the chat template of model "models/mine" fails') as caught:
        encode_prompts(tokenizer, ["Why?"])
    assert "chat_template.jinja" in caught.value.hint


def test_a_template_that_rejects_an_answer_falls_back_to_the_end_of_sequence() -> None:
    tokenizer = make_tokenizer(FAMILIES["ChatML"])
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role != 'user' %}{{ raise_exception('no') }}{% endif %}"
        "{{ m.content }}{% endfor %}"
    )
    assert encode_answers(tokenizer, [""]) == [[tokenizer.eos_token_id]]


def test_a_sentencepiece_tokenizer_keeps_the_tokens_of_the_conversation() -> None:
    """Llama's marks the start of each text with a space: after Zephyr's line break that would be wrong."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2, "▁": 3, "\n": 4}
    for letter in "abcdefghijklmnopqrstuvwxyzHWI?.NST[]/|<>":
        vocab.setdefault(letter, len(vocab))
        vocab.setdefault(f"▁{letter}", len(vocab))
    merges = [("▁", token[1]) for token in vocab if len(token) == 2 and token[0] == "▁"]
    backend = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", bos_token="<s>")
    for name in ("Mistral", "Zephyr"):
        tokenizer.chat_template = FAMILIES[name].template
        messages = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "heron"}]
        whole = tokenizer(
            tokenizer.apply_chat_template(messages, tokenize=False).rstrip("\n"), add_special_tokens=False
        )["input_ids"]
        (prompt,), (answer,) = encode_prompts(tokenizer, ["Why?"]), encode_answers(tokenizer, ["heron"])
        if name == "Mistral":
            assert prompt + answer == whole
        else:  # its conversations end the prompt's line twice
            assert tokenizer.convert_ids_to_tokens(answer)[-6:] == [*"heron", "</s>"]


@pytest.mark.extended
def test_every_template_that_trl_ships() -> None:
    """Where TRL has a family's template, the end is in the text that follows the answer."""
    from pathlib import Path

    import trl

    files = sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))
    assert files
    checked = 0
    for file in files:
        tokenizer = make_tokenizer(FAMILIES["ChatML"])
        tokenizer.bos_token = "<s>"
        tokenizer.chat_template = file.read_text(encoding="utf-8")
        try:
            render_prompt(tokenizer, "Why?")
        except UserError:
            continue
        turn = answer_turn(tokenizer)
        assert turn.end is not None, file.name
        checked += 1
    assert checked > len(files) / 2
