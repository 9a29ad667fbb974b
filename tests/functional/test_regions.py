"""Masks as wholes, against flood fill and sets of pixels."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmend.functional.regions import SURE, drop_parts, fill_holes, merge, overlap_loss, tidy
from maskmend.types import IGNORE

Pixel = tuple[int, ...]


def picture(*rows: str) -> np.ndarray:
    return np.array([[c == "#" for c in row] for row in rows])


def flood(mask: np.ndarray, corners: bool) -> list[set[Pixel]]:
    """Connected parts, one pixel at a time."""
    left, parts = {tuple(int(x) for x in p) for p in np.argwhere(mask)}, []
    steps = [s for s in product((-1, 0, 1), repeat=mask.ndim) if sum(map(abs, s)) in (range(1, 4) if corners else (1,))]
    while left:
        part = todo = {left.pop()}
        while todo:
            near = {tuple(a + b for a, b in zip(p, s, strict=True)) for p in todo for s in steps}
            todo = near & left
            left -= todo
            part = part | todo
        parts.append(part)
    return parts


def by_flood(mask: np.ndarray, share: float) -> np.ndarray:
    """Step 5 of Sec. 2.3: small parts away, then small holes filled."""
    parts = flood(mask, corners=True)
    largest = max((len(p) for p in parts), default=0)
    out = np.zeros_like(mask)
    for part in parts:
        for pixel in part:
            out[pixel] = len(part) >= share * mask.sum() or len(part) == largest
    area = out.sum()
    for hole in flood(~out, corners=False):
        inner = all(0 < x < n - 1 for pixel in hole for x, n in zip(pixel, mask.shape, strict=True))
        if inner and len(hole) < share * area:
            for pixel in hole:
                out[pixel] = True
    return out


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([(9, 11), (5, 6, 5)]), st.floats(0.05, 0.95), st.sampled_from([0.0, 0.1, 0.3]), st.integers(0, 999)
)
def test_tidy_is_what_flood_fill_finds(shape: Pixel, density: float, share: float, seed: int) -> None:
    masks = np.random.default_rng(seed).random((2, *shape)) < density
    # of several largest parts, all below the share, only one is kept: let there be one
    cases = [
        m for m in masks if len(p := sorted(map(len, flood(m, True)))) < 2 or p[-1] > p[-2] or p[-1] >= share * m.sum()
    ]
    for mask in cases:
        np.testing.assert_array_equal(tidy(torch.from_numpy(mask)[None], share)[0].numpy(), by_flood(mask, share))


def test_parts_that_touch_at_a_corner_are_one() -> None:
    mask = picture("##....", "##....", "..#...", "......", "....#.")
    assert drop_parts(mask, 0.2).sum() == 5
    assert drop_parts(mask, 0.1).sum() == 6


def test_the_largest_part_of_a_narrow_mask() -> None:
    """Where cc3d 4.1 numbers a bool mask wrongly, or fails."""
    rng = np.random.default_rng(0)
    for shape in ((3, 1), (5, 2), (9, 3), (2, 3, 2)):
        for mask in rng.random((50, *shape)) < 0.6:
            assert drop_parts(mask, 1.0).sum() == max(map(len, flood(mask, corners=True)), default=0)


def test_the_largest_part_stays_however_small() -> None:
    mask = np.zeros((40, 40), bool)
    mask[::3, ::3] = True
    assert drop_parts(mask, 0.1).sum() == 1


def test_a_hole_does_not_leak_through_a_corner_and_not_at_the_edge() -> None:
    mask = picture("#######", "#.#####", "##.####", "#####.#", "#####..")
    filled = fill_holes(mask, 0.2)
    assert filled[1, 1]
    assert filled[2, 2]
    assert not filled[3:, 5].any()


def test_holes_are_measured_against_what_is_left() -> None:
    """A hole of 2 in 20 pixels; with 9 fragments counted too it would be below a tenth."""
    mask = np.zeros((12, 30), bool)
    mask[2:6, 2:8] = True
    mask[3, 4:6] = False
    mask[9, 10:28:2] = True
    small_holes = mask[2:6, 2:8].sum()
    assert small_holes == 22
    assert tidy(torch.from_numpy(mask)[None], 0.09)[0].sum() == 22  # 2 >= 0.09 * 22
    assert tidy(torch.from_numpy(mask)[None], 0.1)[0].sum() == 24


def test_nothing_and_everything_stay() -> None:
    masks = torch.stack((torch.zeros(4, 4, 4), torch.ones(4, 4, 4))).bool()
    assert torch.equal(tidy(masks, 0.1), masks)


def test_overlap_by_sets() -> None:
    predicted, label = torch.randint(0, 3, (2, 5, 6, 7)).unbind(0)
    found = overlap_loss(predicted, label, 4)
    for case, k in product(range(5), range(4)):
        a, b = ({tuple(p) for p in (x[case] == k).nonzero().tolist()} for x in (predicted, label))
        expected = 1 - 2 * len(a & b) / (len(a) + len(b)) if a or b else 0.0
        assert found[case, k].item() == pytest.approx(expected)


def test_overlap_of_nothing_with_nothing_is_perfect_and_with_something_is_none() -> None:
    empty, some = torch.zeros(1, 2, 2, dtype=torch.long), torch.tensor([[[0, 1], [0, 0]]])
    assert [overlap_loss(a, b, 2)[0, 1].item() for a, b in ((empty, empty), (empty, some), (some, empty))] == [0, 1, 1]


def test_overlap_does_not_see_what_nobody_annotated() -> None:
    predicted = torch.tensor([[[1, 1, 0, 1]]])
    label = torch.tensor([[[1, IGNORE, 0, IGNORE]]])
    assert overlap_loss(predicted, label, 2).tolist() == [[0, 0]]
    assert overlap_loss(predicted.masked_fill(label == IGNORE, IGNORE), label, 2).tolist() == [[0, 0]]


def test_merge_pixel_by_pixel() -> None:
    given, refined = torch.randint(-1, 4, (6, 5, 5)), torch.randint(0, 4, (6, 5, 5))
    redrawn = torch.randint(0, SURE + 1, (6, 3, 5, 5)).to(torch.uint8) * (torch.rand(6, 3, 5, 5) < 0.6)
    keep = torch.rand(6, 2, 3) < 0.4
    found = merge(given, refined, redrawn, keep)
    for b, y, x in product(range(6), range(5), range(5)):
        claims = {0: (0, 0)}
        for k in (1, 2, 3):
            if keep[b, 0, k - 1]:
                claims[k] = (3, 0) if given[b, y, x] == k else (0, 0)
            elif keep[b, 1, k - 1]:
                claims[k] = (2, 0) if refined[b, y, x] == k else (0, 0)
            elif score := int(redrawn[b, k - 1, y, x]):
                claims[k] = (1, score)
        expected = IGNORE if given[b, y, x] == IGNORE else max(claims, key=lambda k: claims[k])
        assert found[b, y, x] == expected


def test_merge_of_what_was_given_is_what_was_given() -> None:
    given = torch.randint(-1, 3, (2, 4, 4, 4))
    redrawn = torch.full((2, 2, 4, 4, 4), SURE, dtype=torch.uint8)
    assert torch.equal(merge(given, torch.zeros_like(given), redrawn, torch.ones(2, 2, 2).bool()), given)
