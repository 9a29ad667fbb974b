from __future__ import annotations

import errno
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maskmend.data import cache as cache_module
from maskmend.data.cache import Cache, content_hash
from maskmend.data.dataset import Dataset, open_dataset, write_dataset
from maskmend.data.formats import Geometry, read_label, write_label
from maskmend.data.order import POOLS, order, share
from maskmend.data.patches import POINTS, foreground_points
from maskmend.data.preprocess import DataConfig, make_plan
from maskmend.data.refined import RefinedStore
from maskmend.data.sidemaps import SIDEMAPS
from maskmend.data.trainset import CaseSet
from maskmend.errors import InputError
from maskmend.types import IGNORE, Trust

Make = Callable[..., Dataset]
MAPS = ("superpixel", "distance", "rings", "refined")


def arrays(shape: tuple[int, ...], seed: int, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """An image whose value tells the voxel's place, and a label with a small box of each class."""
    rng = np.random.default_rng(seed)
    label = np.zeros(shape, np.uint8)
    for value in range(1, classes):
        corner = [int(rng.integers(0, n - n // 4)) for n in shape]
        label[tuple(slice(c, c + n // 4) for c, n in zip(corner, shape, strict=True))] = value
    image = rng.integers(0, 60, (1, *shape)) + 100 * (label > 0) + seed
    return image.astype(np.uint8), label


def dataset_of(make: Make, shapes: list[tuple[int, ...]], classes: int = 2, **more: Any) -> Dataset:
    pairs = [arrays(shape, i, classes) for i, shape in enumerate(shapes)]
    if len(shapes[0]) == 3:
        more = {"ending": ".nii.gz", "spacings": [(1.0, 1.0, 1.0)] * len(shapes)} | more
    return make([image for image, _ in pairs], [label for _, label in pairs], **more)


@pytest.fixture
def caseset(tmp_path: Path) -> Callable[..., CaseSet]:
    def build(
        data: Dataset, config: DataConfig | None = None, maps: tuple[str, ...] = MAPS, world: Any = None
    ) -> CaseSet:
        plan = make_plan(data, data.train, config or DataConfig(normalisation="none"))
        more = {} if world is None else {"world": world}
        return CaseSet(
            data.train, data, plan, Cache(tmp_path / "cache"), maps, RefinedStore(tmp_path / "refined"), **more
        )

    return build


@dataclass
class Ranks:
    """``size`` ranks that are threads of this process."""

    size: int
    slots: list[Any] = field(default_factory=list)

    def run(self, work: Callable[[Any], Any]) -> list[Any]:
        self.slots = [None] * self.size
        self.barrier = threading.Barrier(self.size, timeout=20)
        with ThreadPoolExecutor(self.size) as pool:
            return list(pool.map(lambda rank: work(Rank(self, rank)), range(self.size)))


@dataclass(frozen=True)
class Rank:
    ranks: Ranks
    rank: int

    @property
    def size(self) -> int:
        return self.ranks.size

    def gather_object(self, value: Any) -> list[Any]:
        self.ranks.slots[self.rank] = value
        self.ranks.barrier.wait()
        gathered = list(self.ranks.slots)
        self.ranks.barrier.wait()
        return gathered


# --- the cache


def test_a_cached_array_is_a_read_only_memory_map(tmp_path: Path) -> None:
    cache, made = Cache(tmp_path), []

    def make() -> np.ndarray:
        made.append(1)
        return np.arange(12, dtype=np.int16).reshape(3, 4)

    for _ in range(2):
        array = cache.get({"b": 1, "a": [2]}, make)
        assert isinstance(array.base, np.memmap)
        assert not array.flags.writeable
        np.testing.assert_array_equal(array, make())
        made.pop()
    cache.get({"a": [2], "b": 1}, make)
    assert len(made) == 1
    np.testing.assert_array_equal(np.load(next(tmp_path.rglob("*.npy")), allow_pickle=False), make())


@pytest.mark.parametrize("shape", [(0, 3), (5,), (1, 2, 3, 4)])
def test_any_shape_can_be_cached(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = Cache(tmp_path).get("key", lambda: np.ones(shape, np.float32))
    assert (array.shape, array.dtype) == (shape, np.float32)


def damage_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def damage_text(path: Path) -> None:
    path.write_text("not an array")


def damage_foreign(path: Path) -> None:
    np.save(path, np.zeros((3, 4), np.int16))


def damage_pickle(path: Path) -> None:
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize("damage", [damage_truncate, damage_text, damage_foreign, damage_pickle])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    cache = Cache(tmp_path)
    cache.store("key", lambda: np.ones((3, 4), np.int16))
    damage(next(tmp_path.rglob("*.npy")))
    np.testing.assert_array_equal(cache.get("key", lambda: np.full((3, 4), 2, np.int16)), 2)


@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, "disk is full"), (errno.EFBIG, "larger than the limit")])
def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    def full(_: int) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(cache_module.os, "fsync", full)
    with pytest.raises(InputError, match=said):
        Cache(tmp_path).get("key", lambda: np.ones(3))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_content_hash_sees_every_byte_and_where_files_end(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"ab")
    b.write_bytes(b"c")
    first = content_hash([a, b])
    a.write_bytes(b"a")
    b.write_bytes(b"bc")
    assert content_hash([a, b]) != first
    with pytest.raises(InputError, match="cannot be read"):
        content_hash([tmp_path / "missing"])


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each side map was computed."""
    counts: Counter[str] = Counter()

    def counting(name: str, make: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        def call(*args: Any) -> np.ndarray:
            counts[name] += 1
            return make(*args)

        return call

    for name, side in list(SIDEMAPS.items()):
        monkeypatch.setitem(SIDEMAPS, name, replace(side, make=counting(name, side.make)))
    return counts


def test_only_what_changed_is_computed_again(
    make_dataset: Make, caseset: Callable[..., CaseSet], made: Counter[str]
) -> None:
    data = dataset_of(make_dataset, [(32, 32)] * 3)
    before = caseset(data).load(torch.arange(3), [0, 0, 0])
    assert made == {"superpixel": 3, "distance": 3, "rings": 3}
    caseset(data)
    assert made == {"superpixel": 3, "distance": 3, "rings": 3}

    path = data.train[1].label
    picture = read_label(path)
    label = picture.array.copy()
    label[0, 0] = 1 - label[0, 0]
    write_label(path, label, picture.geometry)
    after = caseset(data).load(torch.arange(3), [0, 0, 0])
    assert made == {"superpixel": 3, "distance": 4, "rings": 4}
    changed = (before.maps["distance"] != after.maps["distance"]).flatten(1).any(1)
    assert changed.tolist() == [False, True, False]
    assert after.label[1, 0, 0] == label[0, 0]

    caseset(data, DataConfig(normalisation="none", sidemaps={"compactness": 1}))
    assert made == {"superpixel": 6, "distance": 4, "rings": 4}


# --- the order


def test_an_epoch_sees_each_case_once(make_dataset: Make, caseset: Callable[..., CaseSet]) -> None:
    cases = caseset(dataset_of(make_dataset, [(16, 16)] * 6), maps=())
    steps = cases.schedule(0, 0, {"any": 2})
    assert sorted(torch.cat(steps).tolist()) == list(range(6))
    assert torch.equal(torch.cat(steps), torch.cat(cases.schedule(0, 0, {"any": 2})))
    assert not torch.equal(torch.cat(steps), torch.cat(cases.schedule(0, 1, {"any": 2})))
    assert not torch.equal(torch.cat(steps), torch.cat(cases.schedule(1, 0, {"any": 2})))


TRUST = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2])


def test_pools_hold_what_they_say() -> None:
    for name, expected in {
        "any": range(11),
        "clean": range(3),
        "imperfect": range(3, 11),
        "labeled": range(9),
        "unlabeled": range(9, 11),
    }.items():
        assert sorted(torch.cat(order(TRUST, {name: 1}, 0, 0, None)).tolist()) == list(expected)
    assert set(POOLS) == {"any", "clean", "imperfect", "labeled", "unlabeled"}


def test_the_largest_pool_sets_the_length_and_small_ones_go_round() -> None:
    steps = order(TRUST, {"clean": 2, "imperfect": 3}, 0, 0, None)
    assert [len(step) for step in steps] == [5, 5, 5]
    clean = torch.cat([step[:2] for step in steps])
    assert sorted(clean[:3].tolist()) == sorted(clean[3:].tolist()) == [0, 1, 2]
    assert {i for step in steps for i in step[2:].tolist()} == set(range(3, 11))
    assert len(order(TRUST, {"any": 4}, 0, 0, 20)) == 20
    assert len(order(TRUST, {"clean": 8}, 0, 0, None)) == 1


@pytest.mark.parametrize(
    ("batch", "words"), [({"clear": 1}, "'clean'"), ({"unlabeled": 1}, "supervision.csv"), ({"any": 0}, "no case")]
)
def test_a_wrong_batch_plan_is_told(batch: dict[str, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        order(torch.zeros(3, dtype=torch.int64), batch, 0, 0, None)


@pytest.mark.parametrize("batch", [{"any": 3}, {"clean": 1, "imperfect": 2}])
@pytest.mark.parametrize("size", [2, 3])
def test_ranks_together_are_one_process_with_the_larger_batch(batch: dict[str, int], size: int) -> None:
    larger = {name: size * count for name, count in batch.items()}
    rows = torch.cat([share(batch, rank, size) for rank in range(size)])
    assert sorted(rows.tolist()) == list(range(size * 3))
    (start, *_) = (share(batch, rank, size) for rank in range(size))
    assert len(start) == 3
    one = order(TRUST, larger, 7, 2, None)
    for rank in range(size):
        clean = (TRUST[one[0][share(batch, rank, size)]] == Trust.CLEAN).sum()
        assert "clean" not in batch or clean == batch["clean"]


def test_two_ranks_load_what_one_process_does(make_dataset: Make, caseset: Callable[..., CaseSet]) -> None:
    trust = [Trust.CLEAN, Trust.CLEAN, *[Trust.NOISY] * 5]
    data = dataset_of(make_dataset, [(40, 40)] * 7, trust=trust)
    config = DataConfig(patch=(16, 16), normalisation="none")
    batch = {"clean": 1, "imperfect": 2}
    alone = caseset(data, config)

    def work(world: Any) -> Any:
        cases = caseset(data, config, world=world)
        rows = cases.share(batch)
        return [(rows, cases.load(i, (100 + rows).tolist())) for i in cases.schedule(3, 1, batch)]

    parts = Ranks(2).run(work)
    for step, index in enumerate(alone.schedule(3, 1, {name: 2 * count for name, count in batch.items()})):
        whole = alone.load(index, [100 + row for row in range(6)])
        for rows, part in (ranks[step] for ranks in parts):
            assert torch.equal(part.image, whole.image[rows])
            assert torch.equal(part.index, whole.index[rows])
            assert all(torch.equal(part.maps[name], whole.maps[name][rows]) for name in MAPS)


# --- the batches


def test_whole_images_come_with_all_their_maps(make_dataset: Make, caseset: Callable[..., CaseSet]) -> None:
    data = dataset_of(make_dataset, [(32, 48)] * 3, classes=4)
    cases = caseset(data)
    batch = cases.load(torch.tensor([2, 0]), [5, 6])
    for row, i in enumerate((2, 0)):
        image, label = arrays((32, 48), i, 4)
        np.testing.assert_array_equal(batch.image[row], image)
        np.testing.assert_array_equal(batch.label[row], label)
        np.testing.assert_array_equal(batch.maps["refined"][row], label)
        np.testing.assert_array_equal(
            batch.maps["distance"][row], SIDEMAPS["distance"].make(label.astype(np.int8), cases.plan.sidemaps)
        )
    types = {name: values.dtype for name, values in batch.maps.items()}
    assert types == {
        "superpixel": torch.int64,
        "distance": torch.float32,
        "rings": torch.float32,
        "refined": torch.int64,
    }
    assert (batch.image.dtype, batch.label.dtype) == (torch.float32, torch.int64)
    assert batch.trust.tolist() == [1, 1]
    assert batch.index.tolist() == [2, 0]


def test_patches_crop_everything_alike_and_by_their_own_seed(
    make_dataset: Make, caseset: Callable[..., CaseSet]
) -> None:
    data = dataset_of(make_dataset, [(40, 44, 48), (36, 60, 33)])
    cases = caseset(data, DataConfig(patch=(16, 32, 16), normalisation="none", foreground=0))
    batch = cases.load(torch.tensor([0, 1, 0]), [1, 2, 3])
    assert batch.image.shape == (3, 1, 16, 32, 16)
    again = cases.load(torch.tensor([0, 0]), [3, 1])
    assert torch.equal(again.image, batch.image[[2, 0]])
    assert not torch.equal(batch.image[0], batch.image[2])
    assert torch.equal(batch.label > 0, batch.image[:, 0] >= 100)
    boundary = batch.maps["distance"] == 0
    assert torch.equal(boundary & (batch.maps["rings"] > 2), torch.zeros_like(boundary))


def test_foreground_is_oversampled_with_its_classes_alike(make_dataset: Make, caseset: Callable[..., CaseSet]) -> None:
    label = np.zeros((96, 96), np.uint8)
    label[5:9, 5:9] = 1
    label[40:90, 40:90] = 2
    data = make_dataset([label[None] * 50], [label])

    def centres(foreground: float) -> list[int]:
        cases = caseset(data, DataConfig(patch=(16, 16), normalisation="none", foreground=foreground), maps=())
        patches = cases.load(torch.zeros(300, dtype=torch.int64), range(300)).label
        return [int(patch.max()) if (patch == 1).any() else int(patch[8, 8]) for patch in patches]

    seen = Counter(centres(1.0))
    assert seen[0] == 0
    assert 110 < seen[1] < 190
    assert Counter(centres(0.0))[1] < 60


def test_foreground_points_are_of_every_class_and_nothing_else() -> None:
    label = np.array([[0, 2, IGNORE], [1, 2, 0]], np.int8)
    points = foreground_points(label, 0)
    assert points.shape == (2, POINTS, 2)
    assert (label[tuple(points[0].T)] == 1).all()
    assert (label[tuple(points[1].T)] == 2).all()
    assert foreground_points(np.zeros((3, 3), np.int8), 0).shape == (0, POINTS, 2)


def test_a_small_case_is_filled_up_with_what_is_not_learnt(make_dataset: Make, caseset: Callable[..., CaseSet]) -> None:
    data = dataset_of(make_dataset, [(20, 30, 18), (40, 40, 40)])
    cases = caseset(data, DataConfig(patch=(32, 16, 32), normalisation="none"))
    batch = cases.load(torch.tensor([0]), [1])
    inside = torch.zeros(32, 16, 32, dtype=torch.bool)
    inside[6:26, :, 7:25] = True
    assert (batch.label[0][~inside] == IGNORE).all()
    assert (batch.maps["refined"][0][~inside] == IGNORE).all()
    assert (batch.label[0][inside] >= 0).all()
    image, _ = cases.whole(0)
    assert (batch.image[0, 0][~inside] == image.min()).all()
    own = batch.maps["superpixel"][0]
    assert len(own[~inside].unique()) == 1
    assert not torch.isin(own[inside], own[~inside]).any()


def test_ignored_and_unlabelled_pixels_stay_so(make_dataset: Make, caseset: Callable[..., CaseSet]) -> None:
    image, label = arrays((32, 32), 0)
    label[:4] = 7
    data = make_dataset([image, image], [label, None], ignore=7, trust=[Trust.CLEAN, Trust.UNLABELED])
    data = replace(data, labels={"background": 0, "part1": 1})
    batch = caseset(data).load(torch.arange(2), [0, 0])
    assert (batch.label[0, :4] == IGNORE).all()
    assert (batch.label[0, 4:] >= 0).all()
    assert (batch.label[1] == IGNORE).all()
    assert batch.trust.tolist() == [0, 2]


def test_sixteen_cases_load_in_a_few_milliseconds(make_dataset: Make, caseset: Callable[..., CaseSet]) -> None:
    cases = caseset(dataset_of(make_dataset, [(128, 128)] * 16), maps=("superpixel", "distance"))
    index, seeds = torch.arange(16), list(range(16))
    cases.load(index, seeds)

    def seconds() -> float:
        start = time.perf_counter()
        cases.load(index, seeds)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(20)) < 0.02


# --- what ``begin_epoch`` sees


def every_shape() -> list[tuple[int, ...]]:
    return [(20, 17, 16), (20, 18, 16), (33, 18, 16), (33, 18, 16), (33, 18, 16)]


def test_scan_gives_every_case_whole_and_padded(make_dataset: Make, caseset: Callable[..., CaseSet]) -> None:
    cases = caseset(dataset_of(make_dataset, every_shape()))
    batches = list(cases.scan(2))
    assert [b.index.tolist() for b in batches] == [[0, 1], [2, 3], [4]]
    assert [tuple(b.label.shape[1:]) for b in batches] == [(32, 32, 16), (48, 32, 16), (48, 32, 16)]
    for batch in batches:
        for row, i in enumerate(batch.index.tolist()):
            assert (batch.label[row] != IGNORE).sum() == np.prod(every_shape()[i])


def refine(cases: CaseSet, change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> int:
    for batch in cases.scan(2):
        cases.write("refined", batch.index, change(batch.maps["refined"], batch.index))
    return cases.commit()


def refined_of(cases: CaseSet) -> Iterator[torch.Tensor]:
    for batch in cases.scan(1):
        yield batch.maps["refined"][batch.label != IGNORE]


def test_refined_labels_are_written_read_and_rolled_back(make_dataset: Make, caseset: Callable[..., CaseSet]) -> None:
    cases = caseset(dataset_of(make_dataset, every_shape()))
    given = [cases.whole(i)[1] for i in range(5)]
    flipped = refine(cases, lambda refined, index: torch.where(refined == IGNORE, refined, 1 - refined))
    assert flipped == sum(label.numel() for label in given)
    assert cases.state_dict()["generation"] == 1
    assert all(torch.equal(r, 1 - g.flatten()) for r, g in zip(refined_of(cases), given, strict=True))
    assert all(torch.equal(cases.whole(i)[1], given[i]) for i in range(5))

    cases.write("refined", torch.tensor([1]), torch.zeros(1, 32, 32, 16, dtype=torch.int64))
    cases.commit()
    assert cases.state_dict()["generation"] == 2
    sums = [int(r.sum()) for r in refined_of(cases)]
    assert sums[1] == 0
    assert min(sums[:1] + sums[2:]) > 0

    cases.load_state_dict(cases.state_dict() | {"generation": 0})
    assert all(torch.equal(r, g.flatten()) for r, g in zip(refined_of(cases), given, strict=True))
    with pytest.raises(ValueError, match="other"):
        cases.write("other", torch.tensor([1]), torch.zeros(1, 32, 32, 16))


def test_a_cut_from_a_refined_label_fits_its_image(make_dataset: Make, caseset: Callable[..., CaseSet]) -> None:
    cases = caseset(dataset_of(make_dataset, [(40, 44), (40, 45)]), DataConfig(patch=(16, 16), size=(40, 44)))
    refine(cases, lambda refined, index: torch.where(refined == IGNORE, refined, 1 - refined))
    batch = cases.load(torch.tensor([0, 1, 1]), [1, 2, 3])
    assert torch.equal(batch.maps["refined"], 1 - batch.label)


def test_a_refinement_is_undone(make_dataset: Make, caseset: Callable[..., CaseSet]) -> None:
    cases = caseset(dataset_of(make_dataset, every_shape()))
    given = list(refined_of(cases))
    refine(cases, lambda refined, index: torch.where(refined == IGNORE, refined, 1 - refined))
    once = list(refined_of(cases))
    refine(cases, lambda refined, index: torch.where(refined == IGNORE, refined, 0))
    for expected in (once, list(refined_of(cases))):  # undoing twice is doing it again
        cases.undo()
        cases.commit()
        assert all(map(torch.equal, refined_of(cases), expected))
    again = caseset(dataset_of(make_dataset, every_shape()))
    refine(again, lambda refined, index: torch.where(refined == IGNORE, refined, 1 - refined))
    again.undo()
    again.commit()
    assert all(map(torch.equal, refined_of(again), given))


def test_targets_are_written_cropped_and_rolled_back(make_dataset: Make, caseset: Callable[..., CaseSet]) -> None:
    """Shares of two foreground classes, one of them the image itself: they are where the image is, in every patch."""
    data = dataset_of(make_dataset, [(40, 44, 48), (36, 60, 12)], classes=3)
    config = DataConfig(patch=(16, 32, 16), normalisation="none", foreground=0)
    cases = caseset(data, config, maps=("target", "refined"))
    index, seeds = torch.tensor([0, 1, 0]), [1, 2, 3]
    assert sorted(cases.load(index, seeds).maps) == ["refined", "target_1", "target_2"]
    assert not any(cases.load(index, seeds).maps[f"target_{k}"].any() for k in (1, 2))
    for batch in cases.scan(1):
        cases.write("target", batch.index, torch.cat((batch.image / 255, 1 - batch.image / 255), 1))
    assert cases.commit() == 0
    batch = cases.load(index, seeds)
    seen = batch.label != IGNORE
    for k, wanted in ((1, batch.image[:, 0] / 255), (2, 1 - batch.image[:, 0] / 255)):
        assert batch.maps[f"target_{k}"].dtype == torch.float32
        torch.testing.assert_close(batch.maps[f"target_{k}"][seen], wanted[seen], atol=2e-5, rtol=0)
        assert not batch.maps[f"target_{k}"][~seen].any()
    refine(cases, lambda refined, index: refined)
    assert torch.equal(cases.load(index, seeds).maps["target_1"], batch.maps["target_1"])
    assert cases.state_dict()["generation"] == 2
    cases.load_state_dict(cases.state_dict() | {"generation": 0})
    assert not cases.load(index, seeds).maps["target_1"].any()


def test_ranks_gather_and_refine_together(make_dataset: Make, caseset: Callable[..., CaseSet]) -> None:
    data = dataset_of(make_dataset, every_shape())

    def work(world: Any) -> Any:
        cases = caseset(data, world=world)
        seen = [(b.index, b.label.flatten(1).float().mean(1)) for b in cases.scan(2)]
        scores = cases.gather(torch.cat([i for i, _ in seen]), torch.cat([v for _, v in seen]))
        changed = refine(cases, lambda refined, index: torch.where(refined == IGNORE, refined, 1 - refined))
        index = torch.arange(5)
        return scores, changed, cases.load(index, [0] * 5).maps["refined"], cases.state_dict()

    first, second, third = Ranks(3).run(work)
    (alone,) = Ranks(1).run(work)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[0], alone[0])
    assert first[1] == third[1] == alone[1]
    assert torch.equal(first[2], third[2])
    assert first[3] == third[3] == alone[3]
    assert first[3]["generation"] == 1


def test_a_rank_without_cases_takes_part(make_dataset: Make, caseset: Callable[..., CaseSet]) -> None:
    data = dataset_of(make_dataset, [(16, 16)])

    def work(world: Any) -> Any:
        cases = caseset(data, maps=(), world=world)
        mine = [b.index for b in cases.scan()]
        index = torch.cat(mine) if mine else torch.zeros(0, dtype=torch.int64)
        return cases.gather(index, torch.ones(len(index), *([2] if mine else [])))

    assert [value.tolist() for value in Ranks(2).run(work)] == [[[1, 1]]] * 2


def test_an_unreadable_case_is_named(make_dataset: Make, caseset: Callable[..., CaseSet]) -> None:
    data = dataset_of(make_dataset, [(16, 16)] * 2)
    write_label(data.train[1].label, np.zeros((16, 17), np.uint8), Geometry((1.0, 1.0)))
    with pytest.raises(InputError, match="c01"):
        caseset(data)


# --- several raters


def test_a_rater_is_drawn_anew_each_time_and_maps_go_with_it(
    make_dataset: Make, caseset: Callable[..., CaseSet]
) -> None:
    data = dataset_of(make_dataset, [(16, 16)] * 2)
    write_dataset(data.root, data.channel_names, data.labels, data.file_ending, 2)
    for rater, value in (("A", 0), ("B", 1)):
        folder = data.root / "labelsTr_raters" / rater
        folder.mkdir(parents=True)
        for case in data.train:
            whole = np.full((16, 16), value, np.uint8)
            whole[0, 0] = 1 - value
            write_label(folder / case.label.name, whole, Geometry((1.0, 1.0)))
    data = open_dataset(data.root)
    assert [path.parent.name for path in data.train[0].raters] == ["A", "B"]
    cases = caseset(data, DataConfig(normalisation="none", annotation="sampled"))
    drawn = [cases.load(torch.tensor([0, 1]), [2 * k, 2 * k + 1]) for k in range(40)]
    of = torch.stack([batch.label[:, 8, 8] for batch in drawn]).flatten()
    assert set(of.tolist()) == {0, 1}
    assert 20 < of.sum() < 60
    again = cases.load(torch.tensor([0, 1]), [0, 1])
    assert torch.equal(again.label, drawn[0].label)
    given = caseset(data).load(torch.tensor([0, 1]), [0, 1])
    assert torch.equal(given.label[0], cases.whole(0)[1])
    for batch in drawn:
        assert torch.equal(batch.maps["refined"], batch.label)


def test_it_says_how_large_and_what_shape(make_dataset: Make, caseset: Callable[..., CaseSet]) -> None:
    data = dataset_of(make_dataset, [(16, 16, 20), (32, 16, 16)], classes=3)
    cases = caseset(data, DataConfig(normalisation="none", patch=(16, 16, 16)))
    assert cases.shapes == ((16, 16, 32), (32, 16, 16))
    assert cases.steps == (1.0, 1.0, 1.0)
    cases.plan = cases.plan.model_copy(update={"spacing_mm": (5.0, 0.5, 1.0)})
    assert cases.steps == (10.0, 1.0, 2.0)
    for i in range(2):
        label = cases.whole(i)[1]
        assert cases.sizes[i].tolist() == [(label == k).sum().item() for k in range(3)]


def test_a_user_without_a_home_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("MASKMEND_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(InputError, match="MASKMEND_CACHE"):
        cache_module.default_cache()
