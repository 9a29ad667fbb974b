"""The page in a real browser, by real mouse and keys: what is drawn is what is saved."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from maskmend.audit.store import open_audit
from maskmend.review import journal
from maskmend.review.server import running

from .browser import only_looking, press_on, seen, watched, write_audit, write_picture, write_volume

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")

ORIENTATIONS = ("LPS", "RAS", "RPI", "ASL", "PIR")
SIZE, STEP_MM = (13, 15, 11), (1.0, 1.5, 2.5)
ODD = "<img src=x onerror=alert(1)>"
BLOCK = (slice(8, 20), slice(33, 50))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


def marks() -> tuple[np.ndarray, np.ndarray]:
    """A volume to the right, front and up of 100, and its marks: on the middle slice across each axis a bright voxel to
    the left, front and up, and a dark one to the right, back and down. Two corners hold what spans the window."""
    middle = np.array(SIZE) // 2
    image, marked = np.full(SIZE, 100), np.zeros(SIZE, bool)
    image[:3, :3, :3], image[-3:, -3:, -3:] = 0, 200
    for axis in range(3):
        for offset, value in (((-3, 4, 2), 150), ((2, -3, -3), 50)):
            at = middle + offset
            at[axis] = middle[axis]
            image[tuple(at)], marked[tuple(at)] = value, True
    return image, marked


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    root = tmp_path_factory.mktemp("volumes")
    for axes in ORIENTATIONS:
        write_volume(root / "data", axes, axes, marks()[0], STEP_MM)
    folder = write_audit(root, 3)
    with running(folder) as address:
        yield folder, address


@pytest.fixture
def pictures(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Two pictures with ten findings each: one of an odd name."""
    rgb = np.random.default_rng(0).integers(60, 90, (32, 60, 3)).astype(np.uint8)
    rgb[BLOCK] = (230, 120, 200)
    given = np.zeros(rgb.shape[:2], np.uint8)
    given[22:26, 2:50] = 2
    for name in ("a", ODD):
        write_picture(tmp_path / "data", name, rgb, given)
    folder = write_audit(tmp_path, 2, [(row, column) for row in (1, 28) for column in range(2, 27, 5)])
    with running(folder) as address:
        yield folder, address


def settled(page: Any) -> None:
    """Everything is saved, loaded and painted."""
    sync_api.expect(page.locator("#saved")).to_have_text("All saved")
    page.wait_for_load_state("networkidle")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))")


def open_case(page: Any, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()
    sync_api.expect(page.locator("#title")).to_have_text(name)
    settled(page)


def finish(page: Any, name: str) -> None:
    """Leave drawing, and be done with the case."""
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    sync_api.expect(page.locator("#title")).not_to_have_text(name)
    settled(page)


def centre(mask: np.ndarray) -> tuple[float, float]:
    return tuple(np.argwhere(mask).mean(0) + 0.5)


@pytest.mark.parametrize("axes", ORIENTATIONS)
def test_what_is_drawn_is_saved(browser: Any, volumes: tuple[Path, str], axes: str) -> None:
    folder, address = volumes
    with watched(browser, address) as page:
        open_case(page, axes)
        page.keyboard.press("d")
        for _ in range(4):
            page.keyboard.press("[")
        for key, name, (across, down) in (("1", "Axial", (0, 1)), ("2", "Coronal", (0, 2)), ("3", "Sagittal", (1, 2))):
            page.keyboard.press(key)
            lines = page.locator(".stage > .view .lines")
            sync_api.expect(lines).to_have_attribute("aria-label", re.compile(f"{name}, slice"))
            settled(page)
            shown = seen(page)
            inside = shown[..., 3] == 255
            grey = shown[..., 0] - np.median(shown[inside][:, 0])
            bright, dark = (grey > 30) & inside, (grey < -30) & inside
            (row, column), (other_row, other_column) = centre(bright), centre(dark)
            assert row < other_row, "front and up are above"
            assert (column < other_column) == (name == "Sagittal"), "the patient's left is on the right, the front left"
            height, width = (np.ptp(np.argwhere(bright), axis=0) + 1).tolist()
            assert height / width == pytest.approx(STEP_MM[down] / STEP_MM[across], rel=0.1)
            press_on(page, row, column)
            press_on(page, other_row, other_column)
            settled(page)
        finish(page, axes)
    check_saved(folder, axes)


def check_saved(folder: Path, axes: str) -> None:
    """The marks and nothing else are in the label that was drawn, by two other readers; its place is that of the given
    one."""
    saved, given = folder / "drawn" / f"{axes}.nii.gz", folder.parent / "data" / "labelsTr" / f"{axes}.nii.gz"
    _, marked = marks()
    ours, theirs = nibabel.load(saved), nibabel.load(given)
    np.testing.assert_array_equal(ours.affine, theirs.affine)
    upright = nibabel.as_closest_canonical(ours)
    np.testing.assert_array_equal(np.asarray(upright.dataobj), marked)
    ours, theirs = SimpleITK.ReadImage(saved), SimpleITK.ReadImage(given)
    for place in ("GetOrigin", "GetSpacing", "GetDirection", "GetSize"):
        assert getattr(ours, place)() == getattr(theirs, place)()
    turned = SimpleITK.GetArrayFromImage(SimpleITK.DICOMOrient(ours, "LPS"))
    np.testing.assert_array_equal(turned.transpose()[::-1, ::-1], marked)


def test_a_colour_picture_is_not_turned(browser: Any, pictures: tuple[Path, str]) -> None:
    folder, address = pictures
    with watched(browser, address) as page:
        open_case(page, "a")
        page.keyboard.press("g")  # a polygon along the edges of the block
        settled(page)
        shown = seen(page)
        found = np.argwhere((shown[..., 0] > 200) & (shown[..., 2] < 220))
        (top, left), (bottom, right) = found.min(0), found.max(0) + 1
        for row, column in ((top, left), (top, right), (bottom, right), (bottom, left)):
            press_on(page, row, column)
        page.keyboard.press("Enter")
        page.keyboard.press("f")
        page.keyboard.press(".")
        press_on(page, *found.mean(0))
        page.keyboard.press("e")
        for _ in range(4):
            page.keyboard.press("[")
        step = (right - left) / 17
        press_on(page, top + step / 2, left + step / 2)
        settled(page)
        page.keyboard.press("Escape")  # the finding in hand is redrawn
        for _ in range(9):
            page.keyboard.press("r")
        finish(page, "a")
        page.keyboard.press("l")
        open_case(page, "a")
        page.keyboard.press("b")  # a case that is done stays as it is
        sync_api.expect(page.locator("#said")).to_contain_text("open it again")
        press_on(page, 300, 300)
        settled(page)
    expected = np.asarray(Image.open(folder.parent / "data" / "labelsTr" / "a.png")).copy()
    expected[BLOCK] = 2
    expected[BLOCK[0].start, BLOCK[1].start] = 0
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "drawn" / "a.png")), expected)
    np.testing.assert_array_equal(
        SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(folder / "drawn" / "a.png")), expected
    )
    verdicts = [event.verdict for event in journal.states(journal.read(folder))["a"].verdicts.values()]
    assert sorted(verdicts) == ["redrawn"] + 9 * ["refused"]


def test_ten_findings_without_the_mouse(browser: Any, pictures: tuple[Path, str]) -> None:
    folder, address = pictures
    with watched(browser, address) as page:
        sync_api.expect(page.locator("button.start")).to_be_enabled()
        page.keyboard.press("Enter")
        sync_api.expect(page.locator(".next")).to_have_text(
            "Is the suggestion (blue, dashed) better than the given mask (orange)?"
        )
        name = page.locator("#title").inner_text()
        for key in "aruaaaruaa":
            page.keyboard.press(key)
        sync_api.expect(page.locator(".next")).to_contain_text("All findings seen")
        finish(page, name)
    state = journal.states(journal.read(folder))[name]
    said = [state.verdicts[f"{name}:{number}"].verdict for number in range(1, 11)]
    words = {"a": "accepted", "r": "refused", "u": "unsure"}
    assert said == [words[key] for key in "aruaaaruaa"]
    assert state.done is not None
    audit = open_audit(folder)
    given, numbers = audit.given(name).array, audit.map("findings", name)
    taken = np.isin(numbers, [number for number, verdict in enumerate(said, 1) if verdict == "accepted"])
    drawn = np.asarray(Image.open(folder / "drawn" / f"{name}.png"))
    np.testing.assert_array_equal(drawn, np.where(taken, 1, given))


def test_a_changed_mask_answers_what_suggests_nothing(browser: Any, tmp_path: Path) -> None:
    write_picture(tmp_path / "data", "a", np.zeros((32, 60, 3), np.uint8), np.zeros((32, 60), np.uint8))
    write_picture(tmp_path / "data", "b", np.zeros((32, 60, 3), np.uint8), np.zeros((32, 60), np.uint8))
    folder = write_audit(tmp_path, 2, [(1, 2), (1, 10), (1, 20)])
    path = folder / "findings" / "a.json"
    first, rest = path.read_text("utf-8").split('"suggested": true', 1)
    path.write_text(first + '"suggested": true' + rest.replace('"suggested": true', '"suggested": false'), "utf-8")
    with running(folder) as address, watched(browser, address) as page:
        open_case(page, "a")
        page.keyboard.press("r")
        sync_api.expect(page.locator("#said")).to_contain_text("this place stays as it is now. 2 to go")
        sync_api.expect(page.locator(".next")).to_contain_text("Is the mask right here (r)?")
        page.keyboard.press("p")
        page.keyboard.press("a")
        sync_api.expect(page.locator(".next")).to_contain_text("All findings seen")
        finish(page, "a")
        sync_api.expect(page.locator("#progress")).to_have_text("1 of 2 cases done, 1 of them changed")
    verdicts = journal.states(journal.read(folder))["a"].verdicts
    assert [verdicts[f"a:{number}"].verdict for number in (1, 2, 3)] == ["accepted", "redrawn", "redrawn"]


def test_undo_reaches_across_a_reload(browser: Any, pictures: tuple[Path, str]) -> None:
    folder, address = pictures
    with watched(browser, address) as page:
        open_case(page, "a")
        assert "#" not in page.url, "the token stays in the address"
        page.keyboard.press("b")
        for row in (120, 240):
            press_on(page, row, 300)
        settled(page)
        before = journal.states(journal.read(folder))["a"].strokes
        page.reload()
        sync_api.expect(page.locator("#title")).to_have_text("a")
        settled(page)
        page.keyboard.press("z")
        settled(page)
        assert journal.states(journal.read(folder))["a"].strokes == before[:1]
        page.keyboard.press("y")
        settled(page)
        assert journal.states(journal.read(folder))["a"].strokes == before
        assert len(before) == 2


def test_a_stroke_that_is_not_saved_is_kept(browser: Any, pictures: tuple[Path, str]) -> None:
    folder, address = pictures
    with watched(browser, address) as page:
        open_case(page, "a")
        page.route("**/events", lambda route: route.abort())
        page.keyboard.press("b")
        press_on(page, 120, 300)
        sync_api.expect(page.locator("#saved")).to_contain_text("Not saved")
        assert not journal.states(journal.read(folder))["a"].strokes
        page.unroute("**/events")
        page.get_by_role("button", name="Try now").click()
        settled(page)
        assert len(journal.states(journal.read(folder))["a"].strokes) == 1
        page.evaluate("() => { location.hash = 'another' }")  # as if the review had been started again
        press_on(page, 240, 300)
        sync_api.expect(page.locator("#saved")).to_contain_text("started again")
        page.evaluate("token => { location.hash = token }", address.partition("#")[2])
        settled(page)
        assert len(journal.states(journal.read(folder))["a"].strokes) == 2
        page.complaints[:] = [text for text in page.complaints if not re.search("ERR_FAILED|403", text)]


def test_a_name_is_text(browser: Any, pictures: tuple[Path, str]) -> None:
    folder, address = pictures
    with watched(browser, address) as page:
        open_case(page, ODD)
        page.keyboard.press("a")
        settled(page)
        page.keyboard.press("l")
        sync_api.expect(page.get_by_role("button", name=ODD, exact=True)).to_be_visible()
    assert [event.case for event in journal.read(folder) if event.do == "verdict"] == [ODD]


def test_a_blind_finding_is_answered_before_its_suggestion(browser: Any, tmp_path: Path) -> None:
    grey = np.full((16, 16, 3), 90, np.uint8)
    write_picture(tmp_path / "data", "a", grey)
    folder = write_audit(tmp_path, 2, [(3, 3), (9, 9)])
    with running(folder, blind=1.0) as address, watched(browser, address) as page:
        open_case(page, "a")
        sync_api.expect(page.locator(".next")).to_contain_text("after your answer")
        page.keyboard.press("a")
        sync_api.expect(page.locator(".next")).to_contain_text("Here is the suggestion")
        page.keyboard.press("r")
        sync_api.expect(page.locator(".next")).to_contain_text("after your answer")
    events = [event for event in journal.read(folder) if event.do == "verdict"]
    assert [(event.verdict, event.shown) for event in events] == [("accepted", "hidden"), ("refused", "both")]


def test_a_second_reviewer_may_only_look(browser: Any, pictures: tuple[Path, str]) -> None:
    folder, _ = pictures
    with only_looking(folder) as address, watched(browser, address) as page:
        sync_api.expect(page.locator("#banner")).to_be_visible()
        page.get_by_role("button", name="a", exact=True).click()
        sync_api.expect(page.get_by_role("button", name="Accept")).to_be_disabled()
        page.keyboard.press("a")
        sync_api.expect(page.locator("#said")).to_contain_text("Read only")
    assert not (folder / "review.jsonl").exists() or not journal.read(folder)


def test_without_a_readable_image_there_are_outlines(browser: Any, pictures: tuple[Path, str]) -> None:
    folder, _ = pictures
    Image.new("RGB", (5, 5)).save(folder.parent / "data" / "imagesTr" / "a_0000.png")  # not on the label's grid
    with running(folder) as address, watched(browser, address) as page:
        open_case(page, "a")
        assert not seen(page)[..., :3].any()
        page.keyboard.press("s")
        press_on(page, 300, 300)
        sync_api.expect(page.locator("#said")).to_contain_text("no superpixels without an image")
        page.complaints[:] = [text for text in page.complaints if "404" not in text]


def test_the_summary_ends_the_review(browser: Any, tmp_path: Path) -> None:
    write_picture(tmp_path / "data", "a", np.full((16, 16, 3), 90, np.uint8))
    folder = write_audit(tmp_path, 2, [(3, 3)])
    with running(folder) as address, watched(browser, address) as page:
        open_case(page, "a")
        page.keyboard.press("a")
        page.keyboard.press("Enter")
        sync_api.expect(page.locator("#title")).to_have_text("Summary")
        with page.expect_download() as download:
            page.get_by_role("button", name="Download review.csv").click()
        assert "a:1,missing,lesion,accepted" in Path(download.value.path()).read_text()
        page.get_by_role("button", name="Finish the review").click()
        sync_api.expect(page.locator("main")).to_contain_text("You can close this tab")


def test_every_control_has_a_name(browser: Any, volumes: tuple[Path, str]) -> None:
    with watched(browser, volumes[1]) as page:
        open_case(page, "LPS")
        page.keyboard.press("d")
        nameless = page.locator("button, select, input, canvas.lines").evaluate_all(
            "all => all.filter((node) => !(node.getAttribute('aria-label') || node.textContent).trim()).length"
        )
        assert nameless == 0
        page.keyboard.press("?")
        sync_api.expect(page.get_by_role("dialog", name="All keys")).to_contain_text("superpixel")
        page.keyboard.press("Escape")
        sync_api.expect(page.get_by_role("dialog")).to_have_count(0)
