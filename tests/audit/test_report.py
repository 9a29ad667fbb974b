"""The report is one safe file that shows what was found; pictures have their lines where the boundaries are."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.review.made import boxes, make_audit

from maskmend.audit import pictures, store
from maskmend.audit.pictures import GIVEN, OTHER, Mark, Outline, picture, sliced
from maskmend.audit.report import write_report
from maskmend.data.geometry import Geometry

VOID = {"meta", "img", "link", "br"}


class Walk(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open, self.seen, self.sources = list[str](), list[str](), list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.sources += [str(value) for name, value in attrs if name in ("src", "href", "action")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def walked(path: Path) -> Walk:
    walk = Walk()
    walk.feed(path.read_text("utf-8"))
    assert not walk.open
    return walk


@pytest.mark.parametrize(
    ("shape", "ending", "channels"),
    [((20, 24), ".png", 1), ((20, 24), ".png", 3), ((6, 20, 24), ".nii.gz", 1), ((20, 24), ".nii.gz", 2)],
)
def test_the_page_is_whole_and_safe(tmp_path: Path, shape: tuple[int, ...], ending: str, channels: int) -> None:
    name = "<img src=x onerror=alert(1)>"
    audit = make_audit(tmp_path, shape, names=(name, "b"), ending=ending, channels=channels)
    walk = walked(write_report(audit))
    assert "script" not in walk.seen
    assert walk.seen.count("img") == 1, "one case has findings"
    assert all(source.startswith("data:image/png;base64,") for source in walk.sources)
    text = (audit.folder / "report.html").read_text("utf-8")
    assert name not in text
    assert "&lt;img src=x" in text
    assert re.search(r"https?://(?!www\.w3\.org)", text) is None
    assert "No lesion here." in text


def test_without_findings_and_without_images(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, (20, 24), names=("a", "b"), ending=".png")
    for path in (tmp_path / "Dataset001_Made" / "imagesTr").iterdir():
        path.write_bytes(b"no picture")
    assert walked(write_report(audit)).seen.count("img") == 1, "outlines alone"
    store.write_case(audit.folder, audit.about, "a", [], {}, Geometry((1.0, 1.0)))
    rows = [row.model_copy(update={"findings": 0, "hint": "fine", "doubt": None}) for row in audit.rows]
    store.write_rows(audit.folder, rows)
    path = write_report(store.open_audit(audit.folder))
    assert "Nothing wrong to be seen" in path.read_text("utf-8")
    assert "img" not in walked(path).seen


def test_a_label_that_is_gone_is_told_without_a_picture(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, (20, 24), ending=".png")
    path = audit.cases["a"].label
    assert path is not None
    path.write_bytes(b"")
    assert "img" not in walked(write_report(audit)).seen
    assert Image.open(io.BytesIO(pictures.thumbnail(audit, "a"))).size == (160, 160)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def near(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.abs(image - colour).max(-1) < 40


def test_outlines_lie_on_boundaries_and_voxels_keep_their_shape() -> None:
    label = np.zeros((10, 10), int)
    label[3:7, 2:8] = 1
    plane = np.full((10, 10, 1), 90, np.uint8)
    image = pixels(picture(plane, [Outline(label, GIVEN)], (2.0, 1.0), side=200))
    assert image.shape == (200, 100, 3), "rows are twice as long"
    marked = near(image, GIVEN)
    rows, columns = np.nonzero(marked)
    assert (rows.min(), rows.max()) == (3 * 20 - 1, 7 * 20)
    assert (columns.min(), columns.max()) == (2 * 10 - 1, 8 * 10)
    assert not marked[80:120, 30:70].any(), "an outline, no fill"
    dashed = near(pixels(picture(plane, [Outline(label, OTHER, dashed=True)], (2.0, 1.0), side=200)), OTHER)
    assert 0.3 * marked.sum() < dashed.sum() < 0.7 * marked.sum()
    with_mark = pixels(picture(plane, [], (1.0, 1.0), marks=[Mark("7", 5, 5)]))
    assert (with_mark[150:180, 150:180] > 200).any()


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (-1, 1, -1), (1, -1, -1)])
def test_right_is_left_in_the_picture_and_the_head_is_up(signs: tuple[int, int, int]) -> None:
    """A patient with one marked voxel at the right, front and top, stored in several orientations."""
    x, y, z = signs
    direction = np.diag([float(x), float(y), float(z)])
    corner = [0 if s > 0 else 7 for s in (-z, y, x)]  # (D, H, W): top is +z, front is -y, right is -x
    label = np.zeros((8, 8, 8), int)
    label[2:6, 2:6, 2:6] = 1
    label[tuple(corner)] = 2
    place = Geometry((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(direction.ravel()))
    for axis, expected in ((0, (0, 0)), (1, (0, 0)), (2, (0, 0))):
        cut = sliced(label, place, corner, label == 2, axis=axis)
        plane = cut.of(label)
        assert tuple(int(n[0]) for n in np.nonzero(plane == 2)) == expected
        assert cut.where(corner) == expected
        if axis < 2:
            assert cut.letters == ("R", "L")


def test_the_slice_of_the_worst_finding_is_shown(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, (8, 16, 16), place=Geometry((4.0, 1.0, 1.0)))
    worst = audit.findings("a")[0]
    assert worst.slice is not None
    numbers = audit.map("findings", "a")
    assert numbers is not None
    cut = sliced(boxes((8, 16, 16)), Geometry((4.0, 1.0, 1.0)), worst.slice, numbers == worst.number)
    assert (cut.axis, cut.index) == (0, worst.slice[0]), "thick slices are looked at as they were drawn"
    image = pixels(pictures.of_case(audit, "a") or b"")
    assert near(image, OTHER).any()
    assert not near(image, GIVEN).any(), "nothing was given on that slice"
