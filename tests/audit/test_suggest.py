"""Findings never share a voxel, and all of them taken give the suggested label."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from maskmend.audit import store
from maskmend.audit.findings import differences
from maskmend.audit.store import Doubted
from maskmend.audit.suggest import joined, taken
from maskmend.data.geometry import Geometry
from maskmend.types import IGNORE

LABELS = {"background": 0, "liver": 1, "spleen": 2}
SOLID = Geometry((5.0, 1.0, 1.0), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


def doubt(kind: store.Kind, voxels: list[int], confidence: float = 0.5, value: int | None = 0, **more: int) -> Doubted:
    return Doubted(kind, 1, np.array(voxels, np.int64), confidence, f"{kind}.", value, **more)


LABEL = arrays(np.int16, (3, 6, 6), elements=st.integers(-1, 2))
CHECKS = st.lists(
    st.builds(
        doubt,
        st.sampled_from(["hole", "island", "outlier"]),
        st.sets(st.integers(0, 107), max_size=40).map(sorted),
        st.floats(0, 1),
        st.sampled_from([0, 1, 2, None]),
    ),
    max_size=5,
)


@drawn(LABEL, LABEL.map(abs), CHECKS)
@settings(max_examples=60, deadline=None)
def test_suggestions(label: np.ndarray, other: np.ndarray, checks: list[Doubted]) -> None:
    model = differences(label, other, LABELS, SOLID.spacing_mm, 0.1)
    found, numbers, suggested = joined("a", label, [*checks, *model], LABELS, SOLID)
    assert [f.id for f in found] == [f"a:{n}" for n in range(1, len(found) + 1)]
    assert {f.number for f in found} - {0} == set(np.unique(numbers).tolist()) - {0}
    assert (taken(label, suggested, numbers, range(256)) == suggested).all()
    assert (taken(label, suggested, numbers, []) == label).all()
    assert (suggested[label == IGNORE] == IGNORE).all()
    for finding in found:
        voxels = numbers == finding.number
        if not finding.number:
            assert finding.voxels == 0
            continue
        alone = taken(label, suggested, numbers, [finding.number])
        assert (alone[~voxels] == label[~voxels]).all()
        assert (alone != label).any() == (finding.suggested and bool((suggested != label)[voxels].any()))
        assert finding.voxels == voxels.sum()
        assert finding.box is not None
        assert finding.slice is not None
        assert voxels[tuple(slice(*side) for side in finding.box)].sum() == voxels.sum()
        assert voxels[finding.slice]
        assert voxels[finding.slice[0]].sum() == voxels.sum((1, 2)).max()
    weights = [f.confidence * f.voxels for f in found]
    assert weights == sorted(weights, reverse=True)
    for each in model:  # nothing takes away from a judge's findings
        assert len(set(numbers.flat[each.voxels].tolist()) - {0}) == 1


def test_a_judge_goes_before_a_check() -> None:
    label = np.ones((1, 4, 8), np.int16)
    wide = doubt("too_wide", [0, 1, 2, 3], 0.4)
    touched, covered = doubt("island", [3, 4, 5], 1.0), doubt("hole", [1, 2, 6], 1.0, 2)
    found, numbers, suggested = joined("a", label, [covered, touched, wide], LABELS, SOLID)
    assert [(f.kind, f.source, f.voxels) for f in found] == [("island", "check", 2), ("too_wide", "model", 4)]
    assert numbers.ravel()[:8].tolist() == [2, 2, 2, 2, 1, 1, 0, 0]
    assert suggested.ravel()[:8].tolist() == [0] * 6 + [1, 1]


def test_what_suggests_nothing_leaves_room_for_what_does() -> None:
    label = np.ones((4, 8), np.int16)
    all_of_it, island = doubt("outlier", [*range(16)], 1.0, None), doubt("island", [3, 4], 0.2)
    found, *_ = joined("a", label, [all_of_it, island], LABELS, Geometry((1.0, 1.0)))
    assert [(f.kind, f.voxels, f.suggested) for f in found] == [("outlier", 14, False), ("island", 2, True)]


def test_what_a_finding_says_of_its_place() -> None:
    label = np.ones((3, 9, 9), np.int16)
    mask = np.zeros(label.shape, bool)
    mask[0, 0, 0] = mask[1, 2:7, 1:6] = True
    of_case = Doubted("absent", 2, np.array([], np.int64), 1.0, "No spleen.")
    missing = Doubted("missing", 1, np.flatnonzero(mask), 0.75, "Here.", 0, 2, 3.5)
    found, *_ = joined("a", label, [of_case, missing], LABELS, SOLID)
    assert found == (
        store.Finding(
            id="a:1", number=1, kind="missing", class_="liver", other="spleen", source="model",
            box=((0, 2), (0, 7), (0, 6)), slice=(1, 4, 3), voxels=26, volume_ml=0.13, depth_mm=3.5, confidence=0.75,
            suggested=True, text="Here.",
        ),
        store.Finding(
            id="a:2", number=0, kind="absent", class_="spleen", source="check", confidence=1.0, text="No spleen."
        ),
    )  # fmt: skip


@pytest.mark.parametrize(("place", "volume"), [
    (Geometry((1.0, 1.0)), None), (Geometry((2.0, 2.0), singleton=(0, 5.0)), 0.04), (Geometry((2.0, 2.0)), None),
])  # fmt: skip
def test_a_volume_needs_mm_and_three_axes(place: Geometry, volume: float | None) -> None:
    (found,), *_ = joined("a", np.ones((4, 4), np.int16), [doubt("hole", [5, 6])], LABELS, place)
    assert found.volume_ml == volume


def test_the_least_are_left_out_and_what_is_of_the_case_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST", 2)
    doubted = [doubt("hole", [0], 0.9), doubt("hole", [5, 6], 0.9), doubt("absent", [])]
    found, numbers, suggested = joined("a", np.ones((4, 4), np.int16), doubted, LABELS, Geometry((1.0, 1.0)))
    assert [(f.kind, f.voxels) for f in found] == [("hole", 2), ("absent", 0)]
    assert numbers[0, 0] == 0
    assert suggested[0, 0] == 1


def test_where_a_check_points_is_kept_while_it_has_it() -> None:
    label = np.ones((1, 4, 8), np.int16)
    for at, voxel in ((4, (0, 0, 4)), (0, (0, 0, 2))):
        found, *_ = joined("a", label, [doubt("hole", [0, 2, 3, 4], at=at), doubt("swap", [0])], LABELS, SOLID)
        assert found[0].slice == voxel
