"""Pictures have their lines where the boundaries are, in the shape of the voxels, turned as a radiologist sees them."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.review.made import boxes, make_audit

from maskmend.audit import pictures
from maskmend.audit.drawing import FRAME, UNKNOWN
from maskmend.audit.pictures import (
    GIVEN,
    OTHER,
    Mark,
    Outline,
    is_ct,
    outlined,
    overview,
    picture,
    shown_image,
    sides,
    sliced,
    window,
)
from maskmend.data.geometry import Geometry
from maskmend.errors import InputError
from maskmend.types import IGNORE

GREY = np.full((10, 10, 1), 90, np.uint8)


def pixels(png: bytes) -> NDArray[np.int64]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def exactly(image: NDArray[np.int64], colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    return np.asarray((image == colour).all(-1))


def square() -> NDArray[np.int64]:
    label = np.zeros((10, 10), int)
    label[3:7, 2:8] = 1
    return label


def test_outlines_lie_on_boundaries_and_voxels_keep_their_shape() -> None:
    image = pixels(picture(GREY, [Outline(square(), GIVEN)], (2.0, 1.0), side=200))
    assert image.shape == (200, 100, 3), "rows are twice as long"
    marked = exactly(image, GIVEN)
    expected = np.zeros((200, 100), bool)
    expected[3 * 20 - 1 : 7 * 20 + 1, 2 * 10 - 1 : 8 * 10 + 1] = True
    expected[3 * 20 + 1 : 7 * 20 - 1, 2 * 10 + 1 : 8 * 10 - 1] = False
    corners = [(r, c) for r in (59, 140) for c in (19, 80)]
    for corner in corners:
        expected[corner] = False
    assert np.array_equal(marked, expected), "two pixels wide, one on each side, and no fill"


@pytest.mark.parametrize("steps", [(1.0, 1.0), (5.0, 0.7), (0.7, 5.0), (1.0, 0.01)])
@pytest.mark.parametrize("shape", [(10, 10), (700, 500), (1, 9)])
def test_a_picture_has_the_shape_of_its_plane_in_mm(steps: tuple[float, float], shape: tuple[int, int]) -> None:
    plane = np.zeros((*shape, 3), np.uint8)
    image = pixels(picture(plane, [Outline(plane[..., 0], GIVEN, True)], steps, side=300))
    lengths = np.multiply(shape, steps)
    assert image.shape[:2] == tuple(np.maximum(1, np.round(300 * lengths / lengths.max())).astype(int))


def test_an_object_smaller_than_a_pixel_keeps_its_outline() -> None:
    label = np.zeros((3000, 3000), np.uint8)
    label[1501, 1501] = 1
    marked = exactly(pixels(picture(label[..., None], [Outline(label, GIVEN)], (1.0, 1.0), side=300)), GIVEN)
    rows, columns = np.nonzero(marked)
    assert rows.size, "one voxel of nine million"
    assert max(abs(rows - 150).max(), abs(columns - 150).max()) <= 1


@pytest.mark.parametrize("turned", [False, True])
def test_dashes_run_along_the_boundary_whichever_way_it_goes(turned: bool) -> None:
    axes = np.mgrid[:200, :200] - 100
    far = abs(axes).sum(0) if turned else abs(axes).max(0)
    label = np.where(far < 70, 1, 0)
    plane = np.full((200, 200, 1), 90, np.uint8)
    whole = exactly(pixels(picture(plane, [Outline(label, OTHER)], (1.0, 1.0), 200)), OTHER)
    dashed = exactly(pixels(picture(plane, [Outline(label, OTHER, dashed=True)], (1.0, 1.0), 200)), OTHER)
    assert not (dashed & ~whole).any()
    for rows in (slice(0, 100), slice(100, 200)):
        for columns in (slice(0, 100), slice(100, 200)):
            assert 0.35 < dashed[rows, columns].sum() / whole[rows, columns].sum() < 0.7, "on every side"


def test_a_boundary_between_classes_is_dashed_once() -> None:
    label = np.zeros((200, 200), int)
    label[50:150, 50:100], label[50:150, 100:150] = 1, 2
    plane = np.full((200, 200, 1), 90, np.uint8)
    dashed = exactly(pixels(picture(plane, [Outline(label, OTHER, dashed=True)], (1.0, 1.0), 200)), OTHER)
    assert 0.3 < dashed[60:140, 99:101].mean() < 0.7


@pytest.mark.parametrize("bands", [1, 3])
def test_files_stay_small_and_outlines_keep_their_colours(bands: int) -> None:
    plane = np.random.default_rng(0).integers(0, 255, (400, 400, bands), dtype=np.uint8)
    label = np.zeros((400, 400), int)
    label[100:300, 100:300] = 1
    noise = picture(plane, [Outline(label, GIVEN)], (1.0, 1.0))
    assert len(noise) < 70_000, "nothing but noise"
    assert (
        exactly(pixels(noise), GIVEN).sum()
        == exactly(pixels(picture(0 * plane, [Outline(label, GIVEN)], (1.0, 1.0))), GIVEN).sum()
    )


def test_marks_are_seen_and_never_cut_off() -> None:
    image = pixels(picture(GREY, [], (1.0, 1.0), side=300, marks=[Mark("7", 5, 5)]))
    assert exactly(image[150:180, 150:180], (255, 255, 255)).any()
    skin = np.full((10, 10, 3), (224, 172, 140), np.uint8)
    assert exactly(pixels(picture(skin, [], (1.0, 1.0), marks=[Mark("7", 5, 5)])), (255, 255, 255)).any()
    at_edge = pixels(picture(GREY, [], (1.0, 1.0), side=300, marks=[Mark("S", -1, 4.5)]))
    inside = pixels(picture(GREY, [], (1.0, 1.0), side=300, marks=[Mark("S", 5, 4.5)]))
    white = [(image > 200).sum() for image in (at_edge, inside)]
    assert abs(white[0] - white[1]) <= 0.1 * white[1]


def test_marks_do_not_lie_on_each_other() -> None:
    shown = [picture(GREY, [], (1.0, 1.0), marks=[Mark("1", 5, 5)] * n) for n in range(8)]
    white = [int(exactly(pixels(png), (255, 255, 255)).sum()) for png in shown]
    assert white[1] > 0
    assert white[:6] == [n * white[1] for n in range(6)], "the others stand around the first"
    assert shown[5] == shown[6] == shown[7], "until there is no place left"


@pytest.mark.parametrize("at", [(5, 5), (0, 0), (9, 9), (0, 9), (5, 9)])
def test_a_mark_beside_a_voxel_leaves_it_to_be_seen(at: tuple[int, int]) -> None:
    marks = [Mark("8", *at, beside=True)]
    image = pixels(picture(GREY, [], (1.0, 1.0), side=300, marks=marks))
    white = np.argwhere(exactly(image, (255, 255, 255)))
    middle = (np.array(at) + 0.5) * 30
    assert 0 < abs(white - middle).max(1).min() < 30, "close by"
    assert exactly(image, (90, 90, 90))[int(middle[0]), int(middle[1])]


def test_what_nobody_annotated_is_grey_and_no_class() -> None:
    label = square()
    label[8:] = IGNORE
    lines = outlined(label, np.where(label == IGNORE, 3, label))
    image = pixels(picture(GREY, lines, (1.0, 1.0), side=200))
    grey, given, other = (exactly(image, colour) for colour in (UNKNOWN, GIVEN, OTHER))
    assert grey[158:162].any()
    assert not grey[:155].any()
    assert not given[150:].any()
    assert not other[150:].any(), "nothing is suggested there"


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (-1, 1, -1), (1, -1, -1)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_right_is_left_in_the_picture_and_the_head_is_up(
    signs: tuple[int, int, int], order: tuple[int, int, int]
) -> None:
    """A patient with one marked voxel at the right, front and top, stored in several orientations."""
    direction = np.diag([float(s) for s in signs])[:, list(order)]  # of x, y, z of the file, where in the patient
    ahead = [direction[:, 2 - axis].argmax() if direction[:, 2 - axis].max() > 0 else None for axis in range(3)]
    main = [int(abs(direction[:, 2 - axis]).argmax()) for axis in range(3)]
    right_front_top = {0: False, 1: False, 2: True}  # LPS: whether the wanted end is that of large coordinates
    corner = [7 if (ahead[axis] is not None) == right_front_top[main[axis]] else 0 for axis in range(3)]
    label = np.zeros((8, 8, 8), int)
    label[2:6, 2:6, 2:6] = 1
    label[tuple(corner)] = 2
    place = Geometry((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(direction.ravel()))
    expected = {2: ("APRL", "axial"), 1: ("SIRL", "coronal"), 0: ("SIAP", "sagittal")}
    for axis in range(3):
        cut = sliced(label, place, corner, label == 2, axis=axis)
        assert tuple(int(n[0]) for n in np.nonzero(cut.of(label) == 2)) == (0, 0)
        assert cut.where(corner) == (0, 0)
        letters, name = expected[main[axis]]
        assert "".join(cut.letters) == letters
        assert cut.name == f"{name} slice {corner[axis] + 1} of 8"


@pytest.mark.parametrize("degrees", [30, 45, 50, 135])
@pytest.mark.parametrize("about", [(0, 1), (0, 2), (1, 2)])
def test_however_oblique_every_axis_has_its_own_letters(about: tuple[int, int], degrees: float) -> None:
    turn, angle = np.eye(3), np.deg2rad(degrees)
    turn[np.ix_(about, about)] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    letters, _ = sides(Geometry((3.0, 1.0, 0.5), (0.0, 0.0, 0.0), tuple(turn.ravel())))
    assert {"".join(sorted(pair)) for pair in letters} == {"IS", "AP", "LR"}


def test_a_file_without_a_place_is_shown_as_it_is_stored() -> None:
    label = np.arange(60).reshape(3, 4, 5)
    place = Geometry((1.0, 1.0, 1.0))
    assert sides(place) == ([["", ""]] * 3, [False] * 3)
    cut = sliced(label, place, (1, 2, 3), label == 33, axis=0)
    assert np.array_equal(cut.of(label), label[1])
    assert (cut.name, "".join(cut.letters)) == ("slice 2 of 3", "")


def test_the_slice_of_the_worst_finding_is_shown(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, (8, 16, 16), place=Geometry((4.0, 1.0, 1.0)))
    worst = audit.findings("a")[0]
    assert worst.slice is not None
    numbers = audit.map("findings", "a")
    assert numbers is not None
    cut = sliced(boxes((8, 16, 16)), Geometry((4.0, 1.0, 1.0)), worst.slice, numbers == worst.number)
    assert (cut.axis, cut.index) == (0, worst.slice[0]), "thick slices are looked at as they were drawn"
    shown = pictures.of_case(audit, "a")
    image = pixels(shown.png)
    assert shown.cut.name == f"axial slice {worst.slice[0] + 1} of 8"
    assert exactly(image, OTHER).any()
    assert not exactly(image, GIVEN).any(), "nothing was given on that slice"


@pytest.mark.parametrize("axis", [0, 1, 2, None])
def test_a_small_finding_is_shown_large_within_the_whole(axis: int | None) -> None:
    place = Geometry((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    shape, at = (100, 100, 120)[axis is None :], (20, 30, 90)[axis is None :]
    label, finding = np.zeros(shape, np.uint8), np.zeros(shape, bool)
    label[tuple(slice(10, n - 10) for n in shape)] = 1
    finding[at] = True
    cut = sliced(label, place, at, finding, axis=axis)
    large = cut.of(finding)
    assert np.argwhere(large).tolist() == [list(cut.where(at))]
    down, right = (slice(0, n) for a, n in enumerate(shape) if axis is None or a != axis)
    whole = replace(cut, box=(down, right))
    lengths = whole.of(finding).shape
    assert all(n < 0.45 * every for n, every in zip(large.shape, lengths, strict=True))
    small = pixels(overview(np.full((1, *shape), 7, np.int16), cut))
    frame = np.argwhere(exactly(small, FRAME))
    middle = (np.array(whole.where(at)) + 0.5) / lengths * small.shape[:2]
    assert abs(frame.mean(0) - middle).max() < 3, "the frame is around the finding"
    assert np.ptp(frame, axis=0) / small.shape[:2] == pytest.approx(np.array(large.shape) / lengths, abs=0.03)
    assert overview(label[None], sliced(label, place, at, label > 0, axis=axis)) == b""


def test_windows_follow_the_values() -> None:
    rng = np.random.default_rng(0)
    grey = rng.normal(100, 10, (1, 40, 40)).astype(np.float32)
    assert window(grey[0]) == pytest.approx(tuple(np.percentile(grey, [0.5, 99.5])))
    ct = np.where(grey > 105, 900.0, -1000.0).astype(np.float32)
    assert is_ct(ct)
    assert window(ct[0]) == (-160.0, 240.0)
    cut = sliced(np.zeros((40, 40), int), Geometry((1.0, 1.0)), None, np.zeros((40, 40), bool))
    assert set(np.unique(shown_image(ct, cut))) == {0, 255}
    colour = rng.integers(0, 255, (3, 40, 40), dtype=np.uint8)
    assert np.array_equal(shown_image(colour, cut), np.moveaxis(colour, 0, -1))
    assert shown_image(np.zeros((1, 40, 40), np.int16), cut).max() == 0, "one value everywhere"
    assert shown_image(np.full((1, 40, 40), np.nan, np.float32), cut).max() == 0, "no values"


def test_a_label_that_changed_is_refused_and_its_thumbnail_is_grey(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, (20, 24), ending=".png")
    path = audit.cases["a"].label
    assert path is not None
    assert exactly(pixels(pictures.thumbnail(audit, "a")), GIVEN).any()
    path.write_bytes(b"")
    with pytest.raises(InputError):
        pictures.of_case(audit, "a")
    assert pixels(pictures.thumbnail(audit, "a")).std() == 0
