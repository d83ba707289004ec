from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from personakit.models import one_token
from personakit.models.shared_prefix import attention
from personakit.models.shared_prefix.attention import attend, block_mask, boolean_mask
from personakit.models.shared_prefix.packing import Packing, pack
from personakit.models.shared_prefix.plan import KeptTokens

from .families import batch, draw, nested, relative


def states(
    packing: Packing, queries: int, heads: int, groups: int, dtype: torch.dtype = torch.float64
) -> list[torch.Tensor]:
    torch.manual_seed(packing.tokens)
    shapes = [(heads, queries), (groups, packing.tokens), (groups, packing.tokens)]
    return [torch.randn(1, h, n, 16, dtype=dtype, requires_grad=True) for h, n in shapes]


def outcome(
    packing: Packing, given: list[torch.Tensor], backend: str, kept: KeptTokens | None
) -> list[torch.Tensor]:
    output = attend(*given, packing, 0.3, kept=kept, backend=backend)
    weights = torch.randn(output.shape, dtype=output.dtype, generator=torch.Generator().manual_seed(0))
    return [output, *torch.autograd.grad((output * weights).sum(), given)]


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    st.lists(st.lists(st.integers(3, 4), max_size=10), min_size=1, max_size=6),
    st.integers(1, 5),
    st.sampled_from([(4, 4), (4, 2), (4, 1)]),
    st.booleans(),
    st.data(),
)
def test_kernels_and_mask_agree_with_gradients(
    rows: list[list[int]], min_saved_tokens: int, heads: tuple[int, int], trimmed: bool, data: st.DataObject
) -> None:
    ids, mask = batch([*rows, [3]])
    packing = pack(ids, mask, min_saved_tokens=min_saved_tokens)
    kept = None
    if trimmed:
        wanted = data.draw(st.lists(st.integers(0, packing.tokens - 1), min_size=1, max_size=5))
        kept = KeptTokens(packing, torch.tensor(wanted))
    queries = packing.tokens if kept is None else len(kept.places)
    inputs = states(packing, queries, *heads)
    for ours, plain in zip(
        outcome(packing, inputs, "kernels", kept), outcome(packing, inputs, "mask", kept), strict=True
    ):
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize("trimmed", [False, True])
def test_flex_agrees_with_the_mask(trimmed: bool) -> None:
    from torch.nn.attention.flex_attention import flex_attention

    packing = pack(*batch(nested()))
    kept = KeptTokens(packing, torch.tensor([3, 60, 100])) if trimmed else None
    queries = packing.tokens if kept is None else len(kept.places)
    query, key, value = (each.detach() for each in states(packing, queries, 4, 2, torch.float32))
    found = flex_attention(
        query, key, value, block_mask=block_mask(packing, kept), scale=0.3, enable_gqa=True
    )
    expected = attend(query, key, value, packing, 0.3, kept=kept, backend="mask")
    assert relative(found.transpose(1, 2), expected) < 1e-5


def test_boolean_mask_equals_the_causal_masks_of_the_rows() -> None:
    a = draw(3, 0)
    seen = boolean_mask(pack(*batch([[*a, 3], [*a, 4, 5]]), min_saved_tokens=1))
    assert seen.int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 0, 0, 1],
    ]


def test_bfloat16_merges_in_float32() -> None:
    """No worse than one masked call in bfloat16, against float64."""
    packing = pack(*batch(nested()))
    exact = states(packing, packing.tokens, 4, 2)
    expected = attend(*exact, packing, 0.3, backend="mask")
    low = [each.detach().to(torch.bfloat16) for each in exact]
    kernels, masked = (
        relative(attend(*low, packing, 0.3, backend=backend), expected) for backend in ("kernels", "mask")
    )
    assert kernels < 1.1 * masked


@pytest.mark.parametrize("masked", ["none", "boolean", "added"])
def test_one_low_token_attends_like_the_kernel(masked: str) -> None:
    """In bfloat16 it takes another way; the result is that of float32 up to rounding."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(3, heads, length, 16) for heads, length in ((6, 1), (2, 21), (2, 21)))
    visible = torch.rand(3, 1, 1, 21) < 0.7
    visible[..., -1] = True
    mask = {
        "none": None,
        "boolean": visible,
        "added": torch.zeros(visible.shape).masked_fill(~visible, -torch.inf),
    }
    added = None if masked == "none" else mask["added"]
    output, sums = attention.kernel(query, key, value, 0.0, False, attn_mask=added, scale=0.3)
    with torch.no_grad():
        low = [each.bfloat16() for each in (query, key, value)]
        assert one_token.is_one_low_token(low[0], mask[masked])
        assert not one_token.is_one_low_token(query, mask[masked])
        mixed, mixed_sums = one_token.attend_one_token(*low, mask[masked], 0.3)
    torch.testing.assert_close(mixed.float(), output, rtol=0.02, atol=0.02)
    torch.testing.assert_close(mixed_sums, sums, rtol=0.02, atol=0.02)
    assert not one_token.is_one_low_token(low[0], mask[masked])  # the kernel has a gradient
