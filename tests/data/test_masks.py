"""What the sizes of the masks settle: the size of superpixels, and what resampling takes away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.data.conftest import Make

from maskmend.data.cache import Cache
from maskmend.data.masks import PARTS, fit_superpixels
from maskmend.data.plan import DataConfig, Plan, make_plan
from maskmend.data.sidemaps import SIZES, SideMapConfig, sides, superpixel
from maskmend.data.trainset import CaseSet
from maskmend.errors import InputError
from maskmend.functional.superpixel import check_sizes


def volumes(make: Make, side: int, spacing=(1.0, 1.0, 1.0), shape=(12, 32, 32)) -> CaseSet:
    """Three cases: a large structure, and a small one of ``side`` ** 3 voxels that one case lacks."""
    rng = np.random.default_rng(0)
    labels = [np.zeros(shape, np.uint8) for _ in range(3)]
    for number, label in enumerate(labels):
        label[2:10, 4:28, 2:14] = 1
        if number:
            label[4 : 4 + side, 6 : 6 + side, 20 : 20 + side] = 2
    images = [(rng.random((1, *shape)) * 40 + 100 * label).astype(np.float32) for label in labels]
    return make(images, labels, ending=".nii.gz", spacings=[spacing] * 3)


def plan_of(data, **config) -> Plan:
    return make_plan(data, data.train, DataConfig(**config))


@pytest.mark.parametrize(("side", "voxels"), [(6, 54), (3, 6.75), (1, 1)])
def test_supervoxels_make_room_for_the_smallest_class_and_say_so(make_dataset: Make, side, voxels, tmp_path) -> None:
    """The median of the masks that have the class, in four parts, one voxel each at least."""
    data = volumes(make_dataset, side)
    cases = CaseSet(data.train, data, plan_of(data), Cache(tmp_path / "cache"), ("superpixel",))
    assert cases.plan.sidemaps.supervoxel_voxels == voxels
    assert f"supervoxel_voxels is {voxels:.3g}, not 512" in cases.plan.notes[-1]
    assert f"the median mask of 'part2' ({side**3} voxels)" in cases.plan.notes[-1]
    check_sizes(cases, "method.unit=pixel")
    for batch in cases.scan(1):
        ids = batch.maps["superpixel"][0, :12, :32, :32]
        assert ids.numel() / len(ids.unique()) == pytest.approx(voxels, rel=0.5)


def test_a_size_that_is_asked_for_stays_and_large_masks_change_nothing(make_dataset: Make, tmp_path: Path) -> None:
    data, cache = volumes(make_dataset, 3), Cache(tmp_path / "cache")
    asked = plan_of(data, sidemaps=SideMapConfig(supervoxel_voxels=100))
    cases = CaseSet(data.train, data, asked, cache, ("superpixel",))
    assert (cases.plan, cases.plan.notes) == (asked, ())
    with pytest.raises(InputError, match=r"median mask of 'part2' has 27 pixels.*supervoxel_voxels or leave it out"):
        check_sizes(cases, "method.unit=pixel")
    found = CaseSet(data.train, data, plan_of(data), cache, ("superpixel",))  # the cache tells sizes apart
    maps = [next(c.scan(1)).maps["superpixel"].unique() for c in (cases, found)]
    assert len(maps[0]) < len(maps[1])
    sizes = torch.tensor([[90_000, 4 * int(SIZES[3]), 0]] * 3)
    settled = fit_superpixels(plan_of(data), sizes)
    assert (settled.sidemaps.supervoxel_voxels, settled.notes) == (SIZES[3], ())
    assert fit_superpixels(plan_of(data), (sizes - 1).clamp(min=0)).sidemaps.supervoxel_voxels == pytest.approx(
        SIZES[3] - 1 / PARTS
    )


@pytest.mark.parametrize("voxels", [512, 60, 12])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (8.0, 1.25, 1.25), (0.5, 2.0, 4.0)])
def test_supervoxels_are_as_long_in_mm_along_each_axis(voxels: float, spacing: tuple[float, ...]) -> None:
    grid = np.array(sides(voxels, spacing))
    assert voxels / 1.6 < grid.prod() < 1.6 * voxels
    lengths = grid * spacing
    assert lengths[grid > 1].max() < 1.6 * lengths[grid > 1].min()
    assert (lengths[grid == 1] > 0.6 * lengths.max()).all()


def test_supervoxels_of_thick_slices_are_thin() -> None:
    flat, config = np.zeros((1, 12, 40, 40), np.float32), SideMapConfig(supervoxel_voxels=64)
    for spacing, expected in (((1, 1, 1), [4, 4, 4]), ((8, 1, 1), [1, 8, 8])):
        ids = superpixel(flat, config, spacing_mm=spacing)
        spans = [np.ptp(np.argwhere(ids == value), axis=0) + 1 for value in np.unique(ids)]
        assert np.median(spans, axis=0).tolist() == expected


def test_below_two_pixels_each_is_a_superpixel() -> None:
    for shape in ((4, 5), (2, 3, 4)):
        ids = superpixel(
            np.random.default_rng(0).random((1, *shape)), SideMapConfig(superpixel_pixels=1.5, supervoxel_voxels=1)
        )
        assert ids.ravel().tolist() == [*range(ids.size)]


def test_what_resampling_removes_is_named(make_dataset: Make, tmp_path: Path) -> None:
    image, label = np.zeros((1, 64, 64), np.uint8), np.zeros((64, 64), np.uint8)
    label[10:40, 10:40] = 1
    thin, thick, none = (label.copy() for _ in range(3))
    thin[50], thick[44:60] = 2, 2
    data = make_dataset([image] * 4, [thin, thick, thin, none])
    cache = Cache(tmp_path / "cache")
    small, whole = (CaseSet(data.train, data, plan_of(data, **size), cache) for size in ({"size": (16, 16)}, {}))
    assert whole.removed == {}
    sentence = "data.size=[16, 16] removes 'part2' in 2 of the 3 masks that have it; set a larger data.size"
    assert small.removed == {"part2": sentence}
