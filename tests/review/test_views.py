"""What is shown of a case: windows, channels and colour, and how much of it stays in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskmend.audit.pictures import SAMPLE
from maskmend.data.dataset import write_dataset
from maskmend.data.formats import write_image
from maskmend.data.geometry import Geometry
from maskmend.review import views
from maskmend.review.views import Shelf, View
from tests.review.made import LABELS, boxes, make_audit

SHAPE = (6, 9, 12)


def view_of(root: Path, image: Any) -> View:
    audit = make_audit(root, image.shape[1:], names=("a",))
    place = Geometry((1.0,) * (image.ndim - 1))
    write_image(audit.cases["a"].images[0], image, place)
    return views.load(audit, "a")


def test_a_window_is_chosen_by_all_columns(tmp_path: Path) -> None:
    """Air in the first column alone; regular steps through the voxels would see nothing else."""
    image = np.full((1, SAMPLE // 32, 8, 8), 100, np.int16)
    image[..., 0], image[..., 1] = -10, 150
    (channel,) = view_of(tmp_path, image).channels
    assert (channel["low"], channel["high"], channel["presets"]) == (-10, 150, [])


def test_ct_has_its_windows_and_what_is_no_number_is_black(tmp_path: Path) -> None:
    image = np.linspace(-1000, 1000, np.prod(SHAPE)).reshape(1, *SHAPE).astype(np.float32)
    image[0, 0, 0, 0] = np.nan
    view = view_of(tmp_path, image)
    assert {"name": "lung", "low": -1350.0, "high": 150.0} in view.channels[0]["presets"]
    plane = view.shown(0, 0, 0, (-1000, 1000))
    assert plane[0, 0, 0] == 0
    assert np.abs(plane[..., 0] - np.nan_to_num((image[0, 0] + 1000) / 2000 * 255)).max() <= 1


def test_three_scans_of_bytes_are_no_colours(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, SHAPE, names=("a",))
    for channel in (1, 2):
        image = np.full((1, *SHAPE), channel, np.uint8)
        write_image(audit.dataset.root / "imagesTr" / f"a_000{channel}.nii.gz", image, Geometry((1.0,) * 3))
    write_dataset(audit.dataset.root, ["t1", "t2", "flair"], LABELS, ".nii.gz", 1)
    view = views.load(type(audit)(audit.folder, audit.about, audit.rows), "a")
    assert not view.colour
    assert [channel["name"] for channel in view.channels] == ["t1", "t2", "flair"]
    assert view.shown(0, 0, 2, (0, 2)).max() == 255


def test_a_case_without_its_image_shows_outlines(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, SHAPE, names=("a",))
    audit.cases["a"].images[0].write_bytes(b"nothing")
    view = views.load(audit, "a")
    assert (view.image, view.channels, view.colour) == (None, [], False)
    assert (view.given == boxes(SHAPE)).all()


def test_superpixels_of_a_few_planes_are_kept(tmp_path: Path) -> None:
    view = view_of(tmp_path, np.random.default_rng(0).integers(0, 99, (1, views.PLANES + 2, 8, 9), dtype=np.uint8))
    for index in range(views.PLANES + 2):
        assert view.superpixels(0, index, 0).shape == (8, 9)
    assert len(view.regions) == views.PLANES


def test_the_shelf_holds_the_last_cases_that_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = make_audit(tmp_path, SHAPE, names=("a", "b", "c"))
    read = list[str]()

    def load(case: str) -> View:
        read.append(case)
        return views.load(audit, case)

    shelf = Shelf(load)
    monkeypatch.setattr(views, "HELD", 2 * shelf["a"].weight)
    for case in ("b", "a", "c", "a", "b"):
        assert shelf[case].case == case
    assert read == ["a", "b", "c", "b"], "b was looked at the longest ago when c came"
    monkeypatch.setattr(views, "HELD", 0)
    assert shelf["c"].case == "c"
    assert list(shelf.held) == ["c"]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_plane_of_labels_has_what_is_suggested_but_for_what_is_hidden(tmp_path: Path, axis: int) -> None:
    view = view_of(tmp_path, np.zeros((1, *SHAPE), np.int16))
    given, numbers, suggestion = view.given, view.numbers, view.suggestion
    assert numbers is not None
    assert suggestion is not None
    index, hidden = int(np.argwhere(numbers == 1)[0][axis]), {1}
    kept = np.where(numbers == 1, given, suggestion)
    expected = np.stack([np.take(each, index, axis) for each in (given, kept, numbers, given)])
    found = np.frombuffer(view.labels(axis, index, hidden), "<u2").reshape(expected.shape)
    np.testing.assert_array_equal(found, expected)
    told = np.frombuffer(view.labels(axis, index, set()), "<u2").reshape(expected.shape)[1]
    np.testing.assert_array_equal(told, np.take(suggestion, index, axis))
    assert (told != found[1]).any()
