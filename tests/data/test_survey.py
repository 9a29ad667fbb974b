"""What was learnt of files is known again without opening them; what changed is noticed, and told as if read."""

from __future__ import annotations

import json
import os
import threading
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from maskmend.data import cache as cache_module
from maskmend.data import formats
from maskmend.data.cache import Cache
from maskmend.data.dataset import Dataset, open_dataset, write_dataset
from maskmend.data.empty import check_masks
from maskmend.data.formats import Geometry, write_image, write_label
from maskmend.data.plan import DataConfig, Plan, make_plan, takes_intensities
from maskmend.data.survey import Survey, check_dataset, looks
from maskmend.data.trainset import CaseSet
from maskmend.errors import InputError

FLAT = Geometry((1.0, 1.0))
BOX = Geometry((3.0, 1.0, 1.0), (5.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
LONG_AGO = 10**18


def settle(root: Path) -> None:
    """Every file is old enough to be known again by its time."""
    for path in root.rglob("*.*"):
        os.utime(path, ns=(LONG_AGO, LONG_AGO))


def made(root: Path, ending: str = ".png", channel: str = "grey", cases: int = 4) -> Path:
    shape, place = ((24, 20), FLAT) if ending in (".png", ".tif") else ((6, 24, 20), BOX)
    for n in range(cases):
        image = np.random.default_rng(n).integers(0, 255, shape).astype(np.uint8)
        label = np.zeros(shape, np.uint8)
        label[..., 4:12, 5 : 9 + n] = 1
        write_image(root / f"imagesTr/c{n}_0000{ending}", image, place)
        write_label(root / f"labelsTr/c{n}{ending}", label, place)
    write_dataset(root, [channel], {"background": 0, "lesion": 1}, ending, cases)
    settle(root)
    return root


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was read, and how often hashed."""
    counts: Counter[str] = Counter()
    decode, hashed = formats._read, Cache.content

    def reading(path: Path, indices: bool) -> object:
        counts[path.name] += 1
        return decode(path, indices)

    def hashing(self: Cache, paths: list[Path]) -> str:
        counts["hashed"] += 1
        return hashed(self, paths)

    monkeypatch.setattr(formats, "_read", reading)
    monkeypatch.setattr(Cache, "content", hashing)
    return counts


def start(root: Path, anew: bool = False, **config: object) -> tuple[CaseSet, Plan]:
    """All that a run does with its files before it trains."""
    data, asked = open_dataset(root), DataConfig(**config)
    with Survey(root.parent / "cache", root, anew=anew) as cache:
        check_dataset(data, data.train, cache, ct=takes_intensities(data, asked))
        check_masks(data, data.train, cache=cache)
        plan = make_plan(data, data.train, asked, cache)
        return CaseSet(data.train, data, plan, cache), plan


@pytest.mark.parametrize(("ending", "channel"), [(".png", "grey"), (".nii.gz", "CT"), (".tif", "grey")])
def test_files_are_read_once_and_then_never(tmp_path: Path, read: Counter[str], ending: str, channel: str) -> None:
    root = made(tmp_path / "toy", ending, channel)
    first, plan = start(root)
    assert {count for name, count in read.items() if name != "hashed"} == {1}
    assert len(read) == 9
    read.clear()
    again, same = start(root)
    assert not read
    assert same == plan
    assert again.content == first.content
    assert again.sizes.tolist() == first.sizes.tolist()
    fresh = make_plan(first.dataset, first.cases, DataConfig())
    assert fresh == plan


def test_a_plan_is_the_same_without_a_cache(tmp_path: Path) -> None:
    data = open_dataset(made(tmp_path / "toy", ".nii.gz", "CT"))
    without = make_plan(data, data.train, DataConfig())
    with Survey(tmp_path / "cache", data.root) as cache:
        assert make_plan(data, data.train, DataConfig(), cache) == without


def test_a_changed_file_is_read_again_and_no_other(tmp_path: Path, read: Counter[str]) -> None:
    root = made(tmp_path / "toy")
    before = start(root)[0].sizes
    path = root / "labelsTr/c2.png"
    label = formats.read_label(path).array.copy()
    label[0, 0] = 1
    write_label(path, label, FLAT)
    read.clear()
    after = start(root)[0].sizes
    assert {name for name in read if name != "hashed"} == {"c2.png", "c2_0000.png"}
    assert (after - before).tolist() == [[0, 0], [0, 0], [-1, 1], [0, 0]]


def test_a_file_that_was_only_touched_or_moved_is_known_by_its_content(tmp_path: Path, read: Counter[str]) -> None:
    root = made(tmp_path / "toy")
    start(root)
    read.clear()
    for path in root.rglob("*.png"):
        os.utime(path, ns=(LONG_AGO + 1, LONG_AGO + 1))
    start(root)
    moved = root.rename(tmp_path / "moved")
    start(moved)
    assert set(read) == {"hashed"}


def test_what_changed_just_now_is_not_known_by_its_time(tmp_path: Path) -> None:
    root = made(tmp_path / "toy")
    path = root / "labelsTr/c1.png"
    label = formats.read_label(path).array
    path.write_bytes(_padded(path))
    before = start(root)[0].sizes
    there = path.stat()
    write_label(tmp_path / "other.png", 1 - label, FLAT)
    path.write_bytes(_padded(tmp_path / "other.png"))
    os.utime(path, ns=(there.st_mtime_ns, there.st_mtime_ns))
    assert path.stat().st_ino == there.st_ino
    assert start(root)[0].sizes[1].tolist() == before[1].flip(0).tolist()


def _padded(path: Path) -> bytes:
    """What stands behind the end of a PNG is of no matter."""
    return path.read_bytes().ljust(500, b"\0")


def test_check_reads_all_again(tmp_path: Path, read: Counter[str]) -> None:
    root = made(tmp_path / "toy")
    start(root)
    read.clear()
    start(root, anew=True)
    assert {count for name, count in read.items() if name != "hashed"} == {1}
    assert len(read) == 9
    read.clear()
    start(root)
    assert not read


def break_value(root: Path) -> None:
    write_label(root / "labelsTr/c1.png", np.full((24, 20), 7, np.uint8), FLAT)


def break_shape(root: Path) -> None:
    write_label(root / "labelsTr/c1.png", np.zeros((24, 21), np.uint8), FLAT)


def break_file(root: Path) -> None:
    path = root / "imagesTr/c1_0000.png"
    path.write_bytes(path.read_bytes()[:60])


def break_header(root: Path) -> None:
    write_dataset(root, ["grey", "other"], {"background": 0, "lesion": 1}, ".png", 4)


def lose(root: Path) -> None:
    (root / "labelsTr/c1.png").unlink()


@pytest.mark.parametrize("breaks", [break_value, break_shape, break_file, break_header, lose])
def test_an_error_is_the_same_however_much_is_known(tmp_path: Path, breaks: Callable[[Path], None]) -> None:
    root = made(tmp_path / "toy")
    start(root)
    data = open_dataset(root)
    breaks(root)
    if breaks is break_header:
        data = Dataset(root, ("grey", "other"), data.labels, None, ".png", data.train, ())
    said = []
    for cache in (None, Survey(tmp_path / "cache", root), Survey(tmp_path / "cache", root)):
        with cache or nullcontext(), pytest.raises(InputError) as error:
            check_dataset(data, cache=cache)
        said.append(str(error.value))
    assert len({*said}) == 1
    assert str(root) in said[0]


def test_what_was_learnt_before_an_error_is_kept(tmp_path: Path, read: Counter[str]) -> None:
    root = made(tmp_path / "toy")
    whole = (root / "imagesTr/c3_0000.png").read_bytes()
    (root / "imagesTr/c3_0000.png").write_bytes(whole[:60])
    with pytest.raises(InputError, match=r"c3_0000\.png cannot be read"):
        start(root)
    (root / "imagesTr/c3_0000.png").write_bytes(whole)
    settle(root)
    read.clear()
    data = open_dataset(root)
    with Survey(tmp_path / "cache", root) as cache:
        check_dataset(data, cache=cache)
    assert {name for name in read if name != "hashed"} == {"c3_0000.png", "c3.png"}


def test_remarks_are_told_again(tmp_path: Path) -> None:
    root = made(tmp_path / "toy", ".nii.gz")
    moved = Geometry(BOX.spacing_mm, (0.0, 0.0, 0.0), BOX.direction)
    for n in range(2):  # a second channel with a bare header
        write_image(root / f"imagesTr/c{n}_0001.nii.gz", np.zeros((6, 24, 20), np.uint8), moved)
        write_label(root / f"labelsTr/c{n}.nii.gz", np.ones((6, 24, 20), np.uint8), moved)
    for n in range(2, 4):
        write_image(root / f"imagesTr/c{n}_0001.nii.gz", np.zeros((6, 24, 20), np.uint8), BOX)
    write_dataset(root, ["a", "b"], {"background": 0, "lesion": 1}, ".nii.gz", 4)
    settle(root)
    told = []
    for place in (root, root, root.parent / "moved"):
        if place != root:
            root.rename(place)
        data = open_dataset(place)
        with warnings.catch_warnings(record=True) as caught, Survey(tmp_path / "cache", place) as cache:
            warnings.simplefilter("always")
            check_dataset(data, cache=cache)
        told.append([str(each.message).replace(str(place), "ROOT") for each in caught])
    assert told[0] == told[1] == told[2]
    assert [sum(words in said for said in told[0]) for words in ("channels of a case differ", "image and label")] == [
        2,
        1,
    ]


@pytest.mark.parametrize("damage", [b"", b"{}", b"not a note at all", None])
def test_a_damaged_or_foreign_entry_is_made_anew(tmp_path: Path, read: Counter[str], damage: bytes | None) -> None:
    root = made(tmp_path / "toy")
    before = start(root)[0]
    notes = [*(tmp_path / "cache").rglob("*.json")]
    assert len(notes) > 8
    for path, other in zip(notes, [*notes[1:], notes[0]], strict=True):
        path.write_bytes(other.read_bytes()[::-1] if damage is None else damage)
    read.clear()
    after = start(root)[0]
    assert after.content == before.content
    assert after.sizes.tolist() == before.sizes.tolist()
    assert len(read) == 9
    read.clear()
    start(root)
    assert not read


def test_a_damaged_array_is_made_anew(tmp_path: Path) -> None:
    root = made(tmp_path / "toy")
    before = start(root)[0].whole(0)
    for path in (tmp_path / "cache").rglob("*.npy"):
        path.write_bytes(path.read_bytes()[:-20])
    cache_module._open.cache_clear()  # what this process has open
    after = start(root)[0].whole(0)
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


def test_a_note_is_of_its_own_key(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert cache.note("a", lambda: [1, 2]) == [1, 2]
    assert cache.note("a", lambda: [3]) == [1, 2]
    (path,) = tmp_path.rglob("*.json")
    cache.note("b", lambda: 4)
    (other,) = {*tmp_path.rglob("*.json")} - {path}
    path.write_bytes(other.read_bytes())
    assert cache.note("a", lambda: [3]) == [3]


def test_starts_at_the_same_time_agree(tmp_path: Path, read: Counter[str]) -> None:
    root = made(tmp_path / "toy", cases=12)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(start(root)[0].content)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len({*found}) == 1
    start(root)
    read.clear()
    start(root)
    assert not read


def test_what_nobody_uses_is_forgotten(tmp_path: Path) -> None:
    root, other = made(tmp_path / "toy", cases=30), tmp_path / "cache"
    start(root)
    data = open_dataset(root)
    for n in range(6):  # other labels, as a person corrects them
        write_label(root / "labelsTr/c0.png", np.full((24, 20), n % 2, np.uint8), FLAT)
        with Survey(other, root) as cache:
            check_dataset(data, data.train[:1], cache)
    (file,) = other.glob("surveys/*/survey.json")
    assert len(json.loads(file.read_bytes()[16:])[2]) <= 4 * 12


def test_looks_come_in_order(tmp_path: Path) -> None:
    root = made(tmp_path / "toy", cases=9)
    for n in range(9):
        write_image(root / f"imagesTr/c{n}_0000.png", np.zeros((8 + n, 9), np.uint8), FLAT)
        write_label(root / f"labelsTr/c{n}.png", np.zeros((8 + n, 9), np.uint8), FLAT)
    data = open_dataset(root)
    with Survey(tmp_path / "cache", root) as cache:
        assert [each.shape for each in looks(data.train, data, cache)] == [(8 + n, 9) for n in range(9)]


def test_without_a_place_for_the_memory_a_start_is_only_slower(tmp_path: Path) -> None:
    root = made(tmp_path / "toy")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/surveys").write_text("in the way")
    first, plan = start(root)
    again, same = start(root)
    assert plan == same
    assert again.content == first.content
