"""Reasoning is removed, wherever it comes from, and never taken for the answer."""

from __future__ import annotations

import pytest

from personakit.models.reasoning import closing_tag, content_text, remove_reasoning


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>\nIt could be 2 or 3.\n</think>\n\n5", "5"),
        ("<THINKING>a</THINKING>b", "b"),
        ("<reasoning>a</reasoning>\nb", "b"),
        ("<thought>a</thought>b", "b"),
        ("<seed:think>a</seed:think>b", "b"),
        ("[THINK]a[/THINK]b", "b"),
        ("<|channel>thought\na<channel|>b", "b"),
        ("◁think▷a◁/think▷b", "b"),
        ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>b<|END_RESPONSE|>", "b"),
        ("<|begin_of_thought|>\na\n<|end_of_thought|>\n\nb", "b"),
        (
            "<|begin_of_thought|>a<|end_of_thought|>\n\n<|begin_of_solution|>\nb\n<|end_of_solution|>",
            "b",
        ),
        ("<|START_THINKING|>a", None),
        ("<think></think>\n\nb", "b"),
        ("It could be 2.\n</think>\n\n5", "5"),  # the opening tag was in the prompt
        ("<think>a</think>b\n<think>c</think>d", "b\nd"),
        ("<think>a <think>b</think> c</think> d", "d"),
        (
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b<|return|>",
            "b",
        ),
        ("<think>only reasoning</think>\n", ""),
        ("<think>\nIt could be", None),
        ("Sure.\n<think>\nIt could be", None),
        ("<think>a</think>\n<think>b", None),
        ("[THINK]a", None),
        ("<|channel|>analysis<|message|>It could", None),
        (" kept as it is\n", " kept as it is\n"),
        ("write <think> in the prompt", "write <think> in the prompt"),
        ("a < b, [TH]", "a < b, [TH]"),
    ],
)
def test_reasoning_is_removed(text: str, answer: str | None) -> None:
    assert remove_reasoning(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [("hm\n</think>\n\n5", "5"), ("hm, 2", None), ("<think>a</think>b", "b"), ("</think>\n\n", "")],
)
def test_text_after_an_opened_block_starts_in_it(text: str, answer: str | None) -> None:
    assert remove_reasoning(text, opened=True) == answer


@pytest.mark.parametrize(
    ("prompt", "tag"),
    [
        ("<|Assistant|><think>\n", "</think>"),
        ("<assistant> [THINK]", "[/THINK]"),
        ("<|CHATBOT_TOKEN|><|START_THINKING|>", "<|END_THINKING|>"),
        ("<|begin_of_thought|>\n", "<|end_of_thought|>"),
        ("<|channel>thought\n", "<channel|>"),
        ("<think>\n\n</think>\n\n", ""),
        ("what does <think> mean?<|Assistant|>", ""),
    ],
)
def test_prompt_that_ends_in_an_open_block_is_recognised(prompt: str, tag: str) -> None:
    assert closing_tag(prompt) == tag


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("a", "a"),
        (None, ""),
        (7, ""),
        ([{"type": "text", "text": "a"}, {"type": "output_text", "text": "b"}, "c"], "abc"),
        (
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                {"type": "text", "text": "a"},
            ],
            "a",
        ),
        ([{"type": "reasoning", "text": "hm"}, {"type": "image_url", "image_url": {}}], ""),
    ],
)
def test_parts_of_text_are_joined_without_parts_of_reasoning(content: object, text: str) -> None:
    assert content_text(content) == text
