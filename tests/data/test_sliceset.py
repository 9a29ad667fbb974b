"""Volumes for networks that see slices: slices come and go, and what is kept is the volume's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from maskmend.data.cache import Cache
from maskmend.data.dataset import open_dataset, write_dataset
from maskmend.data.formats import Geometry, Picture, read_image, write_image, write_label
from maskmend.data.plan import DataConfig, Plan, make_plan
from maskmend.data.preprocess import preprocess_image, preprocess_label, restore, stacked, unstacked
from maskmend.data.refined import RefinedStore
from maskmend.data.slices import Slices
from maskmend.data.sliceset import SliceSet, training_set
from maskmend.errors import InputError
from maskmend.infer.predict import PredictConfig, predict_batch
from maskmend.types import Trust

SHAPE = (6, 20, 24)
PLACE = Geometry((3.0, 1.0, 1.0), (0.0,) * 3, tuple(np.eye(3).ravel()))
TILTED = Geometry((1.0, 3.0, 1.0), (0.0,) * 3, (1.0, 0, 0, 0, 0, 1.0, 0, 1.0, 0))
"""Its second array axis runs from feet to head."""
EXACT = PredictConfig(precision="fp32", overlap=0)


def write(root: Path, places: list[Geometry] | None = None) -> Path:
    """Volumes whose value tells the place; the last is clean. A box in two axial slices is labelled."""
    places = places or [PLACE, PLACE]
    for n, place in enumerate(places):
        image = (np.arange(np.prod(SHAPE)).reshape(SHAPE) + n).astype(np.int16)
        label = np.zeros(SHAPE, np.uint8)
        label[2:4, 5:9, 5:15] = 1
        if place is TILTED:
            image, label = image.swapaxes(0, 1), label.swapaxes(0, 1)
        write_image(root / f"imagesTr/c{n}_0000.nii.gz", image, place)
        write_label(root / f"labelsTr/c{n}.nii.gz", label, place)
    write_dataset(root, ["nonorm"], {"background": 0, "lesion": 1}, ".nii.gz", len(places))
    last = len(places) - 1
    (root / "supervision.csv").write_text(f"case,supervision\nc{last},clean\n")
    return root


def plan_of(root: Path, slices: Slices = "axial", **more: object) -> Plan:
    data = open_dataset(root)
    return make_plan(data, data.train, DataConfig(slices=slices, **more))


def set_of(root: Path, maps: tuple[str, ...] = ("refined", "target"), **more: object) -> SliceSet:
    data = open_dataset(root)
    store = RefinedStore(root / "refined")
    found = training_set(data.train, data, plan_of(root, **more), Cache(root / "cache"), maps, store)
    assert isinstance(found, SliceSet)
    return found


@pytest.mark.parametrize(
    ("slices", "shape", "spacing_mm", "left_right"),
    [
        ("axial", (6, 20, 24), (1, 1), 1),
        ("coronal", (20, 6, 24), (3, 1), 1),
        ("sagittal", (24, 6, 20), (3, 1), "across"),
    ],
)
def test_slices_lie_as_the_patient_does(tmp_path, slices, shape, spacing_mm, left_right):
    root = write(tmp_path, [PLACE, PLACE if slices == "sagittal" else TILTED])
    plan = plan_of(root, slices)
    assert (plan.dims, plan.spacing_mm, plan.left_right) == (2, spacing_mm, left_right)
    given = [read_image([root / f"imagesTr/c{n}_0000.nii.gz"]) for n in (0, 1)]
    prepared = [preprocess_image(image, plan) for image in given]
    assert prepared[0].shape[1:] == shape
    assert np.array_equal(prepared[0], prepared[1] - 1)
    for image, array in zip(given, prepared, strict=True):
        assert np.array_equal(restore(array, image, plan), image.array)
        assert np.array_equal(unstacked(stacked(image, plan).array, image, plan), image.array)


def test_slices_are_resampled_one_by_one(tmp_path):
    plan = plan_of(write(tmp_path), spacing_mm=(2.0, 2.0))
    flat = plan.model_copy(update={"slices": None})
    volume = np.random.default_rng(0).normal(size=(1, *SHAPE))
    label = (volume[0] > 0.3).astype(np.int16)
    found = preprocess_image(Picture(volume, PLACE), plan)
    drawn = preprocess_label(Picture(label, PLACE), plan)
    assert found.shape == (1, 6, 10, 12)
    for z in range(6):
        one = Geometry((1.0, 1.0), (0.0, 0.0))
        np.testing.assert_allclose(found[:, z], preprocess_image(Picture(volume[:, z], one), flat), atol=1e-5)
        assert np.array_equal(drawn[z], preprocess_label(Picture(label[z], one), flat))


def test_every_slice_is_a_case_and_comes_once(tmp_path):
    training = set_of(write(tmp_path))
    seen = [*training.scan(4)]
    assert torch.cat([batch.index for batch in seen]).tolist() == [*range(12)] == [*range(len(training))]
    assert training.trust.tolist() == [Trust.NOISY] * 6 + [Trust.CLEAN] * 6
    assert training.sizes.shape == (12, 2)
    assert training.sizes[:, 1].nonzero().flatten().tolist() == [2, 3, 8, 9]
    assert training.sizes[2].tolist() == [20 * 24 - 40, 40]
    assert (len(training.names), training.names[7]) == (12, "c1, slice 1")
    assert {*training.shapes} == {(32, 32)} == {batch.label.shape[1:] for batch in seen}
    image, label = training.whole(1)
    assert image.shape == (1, *SHAPE)
    assert torch.equal(seen[2].label[2, 6:26, 4:28], label[2])
    assert training.removed == {}


def test_a_step_takes_slices_as_patches_are_drawn(tmp_path):
    training = set_of(write(tmp_path), patch=(16, 16), foreground=0.5)
    index = torch.zeros(300, dtype=torch.int64)
    batch = training.load(index, range(300))
    assert batch.label.shape == (300, 16, 16)
    assert batch.index.unique().tolist() == [*range(6)]
    labelled = (batch.label == 1).flatten(1).any(1).float().mean()
    assert 0.5 < labelled < 0.75
    assert torch.isin(batch.index[(batch.label == 1).flatten(1).any(1)], torch.tensor([2, 3])).all()
    some = training.load(index[:2], [7, 299])
    assert torch.equal(some.image, batch.image[[7, 299]])
    steps = training.schedule(0, 0, {"clean": 2, "imperfect": 2})
    assert len(steps) == 3
    assert all(training.trust[rows].tolist() == [0, 0, 1, 1] for rows in steps)


def test_what_is_written_is_of_the_volume_and_the_rest_stays(tmp_path):
    training = set_of(write(tmp_path))
    given = training.whole(0)[1].numpy()
    for keep in (3, 5):  # twice: what the first wrote stays where the second wrote nothing
        for batch in training.scan(4):
            rows = batch.rows(batch.index == keep)
            training.write("refined", rows.index, torch.ones_like(rows.label))
            training.write("target", rows.index, torch.full((len(rows.index), 1, 32, 32), 0.5))
        assert training.commit() == int((given[keep] != 1).sum())
    refined = training.refined.read("c0")
    assert refined.shape == SHAPE
    assert (refined[[3, 5]] == 1).all()
    assert np.array_equal(refined[[0, 1, 2, 4]], given[[0, 1, 2, 4]])
    assert training.refined.read("c1") is None
    maps = next(training.scan(6)).maps
    inside = (slice(6, 26), slice(4, 28))
    assert [float(maps["target_1"][(z, *inside)].mean().round(decimals=3)) for z in range(6)] == [0, 0, 0, 0.5, 0, 0.5]
    assert torch.equal(maps["refined"][(slice(None), *inside)], torch.tensor(refined).long())
    training.undo()
    assert training.commit() == int((given[5] != 1).sum())


def test_side_maps_are_of_slices(tmp_path):
    training = set_of(write(tmp_path), ("superpixel", "distance"))
    batch = next(training.scan(6))
    assert batch.maps["distance"][0].max() == batch.maps["distance"][0, 10, 10] == 1000
    assert batch.maps["distance"][2, 6:26, 4:28].max() < 20
    assert batch.maps["superpixel"][5, 6:26, 4:28].min() == 0
    assert "superpixel_pixels" in training.plan.notes[-1]


def test_a_volume_is_predicted_slice_by_slice(tmp_path):
    plan = plan_of(write(tmp_path))

    def model(image: torch.Tensor) -> torch.Tensor:
        assert image.ndim == 4
        high = (image[:, :1] > image[:, :1].mean((2, 3), keepdim=True)).float() * 0.8 + 0.1
        return torch.cat([1 - high, high], 1)

    volume = np.random.default_rng(0).normal(size=(1, *SHAPE)).astype(np.float32)
    found = predict_batch(model, [volume], plan, EXACT, torch.device("cpu"))
    flat = plan.model_copy(update={"slices": None})
    assert found.shape == (1, 2, *SHAPE)
    for z in range(6):
        alone = predict_batch(model, [volume[:, z]], flat, EXACT, torch.device("cpu"))
        np.testing.assert_allclose(found[0, :, z], alone[0], atol=1e-6)


def test_slices_of_pictures_are_refused(tmp_path):
    for n in range(2):
        write_image(tmp_path / f"imagesTr/c{n}_0000.png", np.zeros((8, 8), np.uint8), Geometry((1.0, 1.0)))
        write_label(tmp_path / f"labelsTr/c{n}.png", np.ones((8, 8), np.uint8), Geometry((1.0, 1.0)))
    write_dataset(tmp_path, ["grey"], {"background": 0, "lesion": 1}, ".png", 2)
    with pytest.raises(InputError, match="is 2D; leave"):
        plan_of(tmp_path)
