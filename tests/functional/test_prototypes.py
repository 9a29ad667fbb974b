"""Grid prototypes against loops over cells, regions and pixels, as the equations are written."""

from __future__ import annotations

from itertools import product
from math import ceil

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from maskmend.functional.prototypes import cells, common_divisors, likeness, prototypes

SIGMA = 0.7


def by_the_book(features: Tensor, region: Tensor, cell: tuple[int, ...], sigma: float) -> Tensor | None:
    """Eqs. 4-6 for one case (F, *S) and one region (*S): P_fg (*S), None if the region is empty."""
    counts = [ceil(n / c) for n, c in zip(region.shape, cell, strict=True)]
    means = {}
    for at in product(*map(range, counts)):
        window = tuple(slice(i * c, (i + 1) * c) for i, c in zip(at, cell, strict=True))
        inside = region[window]
        if inside.any():
            means[at] = features[(slice(None), *window)][:, inside].mean(1)  # Eq. 4
    if not means:
        return None
    degree = dict.fromkeys(product(*map(range, counts)), 0.0)
    for j in means:
        degree[j] = sum(F.cosine_similarity(means[j], means[k], dim=0).item() for k in means)  # Eq. 5
    low, high = min(degree.values()), max(degree.values())
    chosen = [means[j] for j in means if high == low or (degree[j] - low) / (high - low) > sigma]
    return torch.stack([F.cosine_similarity(features, m.view(-1, *[1] * region.ndim), dim=0) for m in chosen]).mean(0)


@pytest.mark.parametrize(
    ("shape", "cell"),
    [((12, 8), (3, 2)), ((10, 7), (4, 3)), ((6, 5), (1, 1)), ((6, 6), (6, 6)), ((4, 6, 5), (1, 2, 2))],
    ids=["grid", "smaller cells at the end", "pixels", "one cell", "3D"],
)
@pytest.mark.parametrize("sign", ["positive", "any sign"])
def test_the_linear_form_is_the_double_sum(shape: tuple[int, ...], cell: tuple[int, ...], sign: str) -> None:
    features = torch.randn(2, 5, *shape)
    features = features.relu() if sign == "positive" else features
    regions = torch.rand(2, 3, *shape) < torch.tensor([0.3, 0.8, 0.02]).view(1, 3, *[1] * len(shape))
    regions[1, 1] = True
    regions[0, 2] = False
    found = likeness(features, prototypes(features, regions, cell, SIGMA))
    for case, number in product(range(2), range(3)):
        expected = by_the_book(features[case], regions[case, number], cell, SIGMA)
        if expected is None:
            assert (found[case, number] == 0).all()
        else:
            torch.testing.assert_close(found[case, number], expected, rtol=1e-4, atol=1e-5)


def test_a_region_of_one_kind_finds_its_kind() -> None:
    """Features 5 e_0 on the left and 2 e_1 on the right; the region is a part of the left with one wrong pixel."""
    features = torch.zeros(1, 2, 4, 8)
    features[:, 0, :, :4], features[:, 1, :, 4:] = 5, 2
    region = torch.zeros(1, 1, 4, 8, dtype=torch.bool)
    region[..., 1:3, 1:3] = region[..., 0, 7] = True
    likely = likeness(features, prototypes(features, region, (1, 1), SIGMA))[0, 0]
    assert torch.equal(likely, torch.tensor([1.0] * 4 + [0.0] * 4).expand(4, 8))


def test_one_cell_is_the_average_of_the_region() -> None:
    features, region = torch.rand(1, 4, 6, 6), torch.rand(1, 1, 6, 6) < 0.5
    mean = features[0][:, region[0, 0]].mean(1)
    torch.testing.assert_close(prototypes(features, region, (6, 6), SIGMA)[0, 0], mean / mean.norm())


def test_cells_are_numbered_in_array_order() -> None:
    region = torch.zeros(2, 2, 4, 6, dtype=torch.bool)
    region[1, 0, 3, 5] = region[1, 0, 2, 4] = region[0, 1, 0, 2] = True
    found = cells(torch.ones(2, 3, 4, 6), region, (2, 2))
    assert (found.region.tolist(), found.place.tolist(), found.count) == ([1, 2], [1, 5], 6)


def test_a_feature_of_nothing_is_like_nothing() -> None:
    features = torch.zeros(1, 3, 4, 4)
    region = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    assert (likeness(features, prototypes(features, region, (2, 2), SIGMA)) == 0).all()


def test_precision_is_full_under_autocast() -> None:
    features, region = torch.rand(1, 32, 16, 16), torch.rand(1, 1, 16, 16) < 0.3
    plain = likeness(features, prototypes(features, region, (2, 2), SIGMA))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = likeness(features, prototypes(features, region, (2, 2), SIGMA))
    assert torch.equal(plain, mixed)


@pytest.mark.parametrize(
    ("shapes", "largest", "expected"),
    [
        ([(256, 256)], 64, 64),
        ([(32, 24), (64, 24)], 16, 8),
        ([(96, 128), (48, 64)], (64, 10), [48, 8]),
        ([(30, 16), (20, 16)], (64, 64), [10, 16]),
        ([(7, 13, 64)], (3, 64, 64), [1, 13, 64]),
        ([(7, 13, 64)], 64, 1),
    ],
)
def test_common_divisors(shapes: list[tuple[int, ...]], largest: object, expected: object) -> None:
    assert common_divisors(shapes, largest) == expected
