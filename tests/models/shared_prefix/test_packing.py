from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from personakit.models.shared_prefix.attention import boolean_mask
from personakit.models.shared_prefix.packing import Packing, pack

from .families import batch, draw, nested

# Two letters, so that rows often begin alike; least_saved is small for the same reason.
rows_of_letters = st.lists(st.lists(st.integers(3, 4), max_size=12), min_size=1, max_size=7)


def check(packing: Packing, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> None:
    """Each row's tokens must see exactly what they see in the row, in its order, and nothing else."""
    assert torch.equal(packing.places == packing.tokens, mask == 0)
    seen = boolean_mask(packing)
    for row, places, held, where in zip(ids, packing.places, mask.bool(), positions, strict=True):
        path = places[held]
        assert torch.equal(packing.token_ids[0, path], row[held])
        assert torch.equal(packing.positions[0, path], where[held])
        for number, place in enumerate(path):
            assert torch.equal(seen[place].nonzero().squeeze(1), path[: number + 1])


@settings(deadline=None, max_examples=60, derandomize=True)
@given(rows_of_letters, st.sampled_from(["left", "right"]), st.integers(1, 6), st.booleans(), st.data())
def test_a_token_attends_to_its_own_row_up_to_itself(
    rows: list[list[int]], side: str, min_saved_tokens: int, counted: bool, data: st.DataObject
) -> None:
    ids, mask = batch(rows, side)
    for row in range(len(rows)):  # holes
        if mask[row].sum() > 2 and data.draw(st.booleans()):
            mask[row, data.draw(st.integers(0, ids.shape[1] - 1))] = 0
    columns = torch.arange(ids.shape[1]).expand_as(ids)
    positions = (mask.cumsum(-1) - 1).clamp(min=0) if counted else columns
    packing = pack(ids, mask, positions if counted else None, min_saved_tokens=min_saved_tokens)
    check(packing, ids, mask, positions)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(rows_of_letters)
def test_every_shared_token_is_stored_once(rows: list[list[int]]) -> None:
    ids, mask = batch(rows)
    prefixes = {tuple(row[: end + 1]) for row in rows for end in range(len(row))}
    assert pack(ids, mask, min_saved_tokens=1).tokens == len(prefixes)


def test_nested_prefixes_are_stored_once_at_every_depth() -> None:
    rows = nested()
    ids, mask = batch(rows)
    packing = pack(ids, mask)
    assert packing.tokens == 40 + 35 + 33 + (33 + 5) + 10 + 13 + 2 * 9 + 3 + 4 == 194  # 9: too few to save
    assert len(packing.segments) == 3
    check(packing, ids, mask, torch.arange(ids.shape[1]).expand_as(ids))


def test_the_order_of_rows_does_not_matter() -> None:
    rows = nested()
    ids, mask = batch(rows)
    order = torch.tensor([3, 1, 4, 0, 5, 8, 2, 6, 7])
    assert pack(ids, mask).tokens == pack(ids[order], mask[order]).tokens


def test_equal_tokens_at_other_positions_are_not_shared() -> None:
    row = draw(50, 0)
    ids, mask = batch([row, [*row, 5]], "left")
    assert pack(ids, mask).tokens == 101
    assert pack(ids, mask, (mask.cumsum(-1) - 1).clamp(min=0)).tokens == 51


def test_large_ids_and_positions_survive() -> None:
    ids = torch.tensor([[2**31 - 1, 0, 5], [2**31 - 1, 0, 6]])
    positions = torch.tensor([[2**30, 2**30 + 1, 2**31 - 1]]).expand(2, -1)
    packing = pack(ids, None, positions, min_saved_tokens=1)
    assert packing.tokens == 4
    check(packing, ids, torch.ones_like(ids), positions)


def test_an_all_padding_batch_is_empty() -> None:
    packing = pack(torch.ones(2, 3, dtype=torch.long), torch.zeros(2, 3))
    assert packing.tokens == 0
    assert packing.places.tolist() == [[0] * 3] * 2
