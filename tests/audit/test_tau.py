"""The share of wrong labels that an audit tells, its interval, and where it says that nobody can know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch

from maskmend.audit import tau
from maskmend.audit.rank import Judged
from maskmend.audit.store import Judge, Share
from maskmend.functional import doubt
from maskmend.functional.edges import Offset
from maskmend.functional.losses import one_hot
from maskmend.types import IGNORE

NAMES = ("background", "liver")
CROSS = (Judge(kind="cross", held_out=False, cases=20),)


def squares(first: int = 4, last: int = 12) -> torch.Tensor:
    label = torch.zeros(1, 16, 16, dtype=torch.int64)
    label[:, first:last, first:last] = 1
    return label


def judge(label: torch.Tensor, seen: torch.Tensor, sure: float = 0.97) -> Judged:
    """One that is ``sure`` of the mask ``seen``, (1, *S) both."""
    prob = torch.lerp(torch.full((), 1 - sure), torch.full((), sure), one_hot(seen, 2))
    regret, certainty = (float(score(prob, label)) for score in (doubt.regret, doubt.certainty))
    return Judged(regret, regret, certainty, 0.9, {}, doubt.wrong(prob, label))


def noisy(share: float, cases: int = 40, seed: int = 0) -> tuple[list[Judged], float]:
    """Masks of which every fourth has a block of the image turned; the judge sees the truth. And the true share."""
    truth, found, wrong = squares(), [], 0
    side = round((4 * share * truth.numel()) ** 0.5)
    for n in range(cases):
        label = truth.clone()
        if n % 4 == 0:
            y, x = np.random.default_rng((seed, n)).integers(0, 17 - side, 2)
            label[:, y : y + side, x : x + side] ^= 1
        wrong += int((label != truth).sum())
        found.append(judge(label, truth))
    return found, wrong / (cases * truth.numel())


@pytest.mark.parametrize("share", [0.02, 0.05, 0.12, 0.2])
def test_random_errors_are_told_within_two_points(share: float) -> None:
    judged, true = noisy(share)
    image, by_class = tau.told(judged, NAMES, CROSS, {})
    assert image is not None
    assert true == pytest.approx(share, abs=0.01)
    assert image.value == pytest.approx(true, abs=0.02)
    assert image.low < true < image.high
    assert not image.unknown
    assert list(by_class) == list(NAMES)


def test_shares_are_of_what_was_given_as_a_class() -> None:
    """All of liver is right and a ring of background is not: methods drop within the given class."""
    judged = [judge(squares(6, 10), squares(4, 12), sure=1.0)] * 9
    found = tau.shares(judged, NAMES)
    assert found is not None
    image, by_class = found
    assert by_class["liver"].value == 0
    assert by_class["background"].value == pytest.approx(48 / 240)
    assert image.value == pytest.approx(48 / 256)


def test_unannotated_pixels_count_nowhere() -> None:
    label = squares(6, 10)
    label[:, 4:12, 4:12] = torch.where(squares(6, 10)[:, 4:12, 4:12] == 1, 1, IGNORE)
    found = tau.shares([judge(label, squares(4, 12), sure=1.0)], NAMES)
    assert found is not None
    assert found[0].value == 0


def test_the_interval_holds_what_the_judge_is_unsure_of() -> None:
    right = squares()
    image, _ = tau.told([judge(right, right, sure=0.95)] * 10, NAMES, CROSS, {})
    assert image is not None
    assert (image.low, image.value) == (0, 0)
    assert image.high == pytest.approx(0.05, abs=1e-3)


def every(label: torch.Tensor, seen: torch.Tensor, cases: int = 20, sure: float = 0.97) -> list[Judged]:
    return [judge(label, seen, sure)] * cases


TWO_WAYS = every(squares(3, 13), squares(), 10) + every(squares(5, 11), squares(), 10)


@pytest.mark.parametrize(
    ("judged", "judges", "offsets", "why"),
    [
        (every(squares(), squares(), 7), CROSS, {}, "fewer than 8"),
        (every(squares(), squares(), sure=0.75), CROSS, {}, "not sure of its own"),
        (every(squares(), squares()), (Judge(kind="predictions", held_out=True, cases=9, dice=0.999),), {}, "learnt"),
        (every(squares(), squares()), CROSS, {"liver": Offset(4.0, 0.9)}, "every mask looks too wide"),
        (TWO_WAYS, CROSS, {}, "either may be right"),
    ],
)
def test_what_nobody_can_know_is_said(
    judged: Sequence[Judged], judges: Sequence[Judge], offsets: Mapping[str, Offset], why: str
) -> None:
    image, by_class = tau.told(judged, NAMES, judges, offsets)
    assert image is not None
    assert why in image.unknown
    assert why in by_class["liver"].unknown
    (sentence,) = tau.sentences(image, by_class, judges, 2)
    assert sentence == f"How much is wrong is not known: {image.unknown}."


def test_networks_of_reviewed_masks_see_what_all_masks_share() -> None:
    reviewed = (Judge(kind="reviewed", held_out=False, cases=20),)
    image, _ = tau.told(TWO_WAYS, NAMES, reviewed, {"liver": Offset(4.0, 0.9)})
    assert image is not None
    assert not image.unknown


def test_nothing_judged_is_nothing_told() -> None:
    assert tau.told([], NAMES, (), {}) == (None, {})
    assert tau.sentences(None, {}, (), 2) == []


def test_sentences() -> None:
    known, not_known = Share(value=0.05, low=0.01, high=0.2), Share(value=0.1, low=0, high=0.3, unknown="the sun shone")
    told = "Believed wrong: 5.0 % (1.0 % to 20 %) of all voxels, 5.0 % (1.0 % to 20 %) of those of background."
    why = "How much of those of class 2 is wrong is not known: the sun shone."
    shares = {"background": known, "2": not_known}
    assert tau.sentences(known, shares, CROSS, 3) == [f"{told} What all masks share is not in it.", why]
    assert tau.sentences(known, shares, (Judge(kind="reviewed", held_out=False, cases=9),), 3) == [told, why]
