from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from maskmend.data.dataset import Dataset
from maskmend.data.formats import Geometry, Picture, read_image, read_label
from maskmend.data.preprocess import DataConfig, Plan, make_plan, preprocess_image, preprocess_label, restore
from maskmend.errors import InputError
from maskmend.types import IGNORE

Make = Callable[..., Dataset]


def geometry(spacing_mm: tuple[float, ...] | None, dims: int) -> Geometry:
    return Geometry(spacing_mm, (0.0,) * dims, tuple(np.eye(dims).ravel())) if spacing_mm else Geometry((1.0,) * dims)


def image(*shape: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, (channels, *shape)).astype(np.uint8)


def disk(*shape: int, radius: float = 0.3) -> np.ndarray:
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    middle = (np.array(shape).reshape(-1, *[1] * len(shape)) - 1) / 2
    return ((((grid - middle) / (radius * np.array(shape).reshape(middle.shape))) ** 2).sum(0) < 1).astype(np.uint8)


def plan_of(make: Make, shapes: list[tuple[int, ...]], config: DataConfig | None = None, **more: object) -> Plan:
    channels = len(more.get("channels", ("grey",)))
    data = make([image(*s, channels=channels) for s in shapes], [disk(*s) for s in shapes], **more)
    return make_plan(data, data.train, config or DataConfig())


# --- the plan


def test_equal_pictures_are_taken_as_they_are(make_dataset: Make) -> None:
    plan = plan_of(make_dataset, [(40, 48), (40, 48)])
    assert (plan.size, plan.spacing_mm, plan.patch, plan.notes) == (None, None, (48, 48), ())
    assert (plan.dims, plan.channels, plan.classes) == (2, 1, 2)


def test_unequal_pictures_are_resized_and_the_plan_says_so(make_dataset: Make) -> None:
    plan = plan_of(make_dataset, [(40, 48), (41, 48)])
    assert plan.size == plan.patch == (256, 256)
    assert "256" in plan.notes[0]


def test_a_given_size_is_the_patch_rounded_up(make_dataset: Make) -> None:
    plan = plan_of(make_dataset, [(40, 48), (41, 48)], DataConfig(size=(100, 64)))
    assert (plan.size, plan.patch) == ((100, 64), (112, 64))


def test_volumes_are_resampled_to_the_median_only_if_they_differ(make_dataset: Make) -> None:
    shapes = [(20, 30, 24)] * 3
    nifti = {"ending": ".nii.gz"}
    same = plan_of(make_dataset, shapes, spacings=[(2, 1, 1)] * 3, **nifti)
    assert same.spacing_mm == (2, 1, 1)
    assert same.grid((20, 30, 24), (2, 1, 1)) == (20, 30, 24)
    assert not same.notes
    mixed = plan_of(make_dataset, shapes, spacings=[(2, 1, 1), (3, 1, 1), (4, 1, 1)], **nifti)
    assert mixed.spacing_mm == (3, 1, 1)
    assert mixed.grid((20, 30, 24), (4, 1, 1)) == (27, 30, 24)
    assert mixed.patch == (32, 32, 32)
    assert len(mixed.notes) == 1


def test_explicit_spacing_and_patch(make_dataset: Make) -> None:
    config = DataConfig(spacing_mm=(1, 1, 2), patch=(16, 20, 16))
    plan = plan_of(make_dataset, [(20, 30, 24)], config, ending=".nii.gz", spacings=[(2, 1, 1)])
    assert plan.grid((20, 30, 24), (2, 1, 1)) == (40, 30, 12)
    assert plan.patch == (16, 32, 16)
    assert "rounded up" in plan.notes[0]


def test_a_patch_in_3d_is_bounded(make_dataset: Make) -> None:
    plan = plan_of(make_dataset, [(8, 130, 40)], ending=".nii.gz", spacings=[(1, 1, 1)])
    assert plan.patch == (16, 96, 48)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (DataConfig(size=(32, 32, 32)), "data.size=[32, 32, 32]"),
        (DataConfig(patch=(32,)), "data.patch=[32]"),
        (DataConfig(spacing_mm=(1, 1)), "data.spacing_mm"),
        (DataConfig(spacing_mm="median", size=(32, 32)), "leave one out"),
    ],
)
def test_what_does_not_fit_is_said(make_dataset: Make, config: DataConfig, words: str) -> None:
    with pytest.raises(InputError) as error:
        plan_of(make_dataset, [(40, 48)], config)
    assert words in str(error.value)


def test_two_and_three_dimensions_do_not_mix(make_dataset: Make) -> None:
    with pytest.raises(InputError, match="2D"):
        plan_of(make_dataset, [(8, 9, 10), (8, 9)], ending=".nii.gz", spacings=[(1, 1, 1), (1, 1)])


def test_plan_survives_json(make_dataset: Make) -> None:
    plan = plan_of(make_dataset, [(8, 9, 10)] * 2, ending=".nii.gz", spacings=[(1, 1, 0.3)] * 2, channels=("CT", "T1"))
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    assert [rule.scheme for rule in plan.normalisation] == ["ct", "zscore"]


# --- intensities


def test_normalisation_goes_by_the_channels_name(make_dataset: Make) -> None:
    names = ("MRI", "noNorm", "rgb_to_0_1")
    plan = plan_of(make_dataset, [(40, 48)], channels=names)
    given = image(40, 48, channels=3, seed=5)
    out = preprocess_image(Picture(given, geometry(None, 2)), plan)
    assert out.dtype == np.float32
    assert abs(out[0].mean()) < 1e-5
    assert out[0].std() == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(out[1], given[1])
    np.testing.assert_allclose(out[2], given[2] / 255, rtol=1e-6)
    assert given.max() > 100  # untouched


def test_normalisation_may_be_asked_for(make_dataset: Make) -> None:
    plan = plan_of(make_dataset, [(40, 48)], DataConfig(normalisation="none"), channels=("CT", "MRI"))
    assert [rule.scheme for rule in plan.normalisation] == ["none", "none"]


def test_ct_uses_the_foreground_of_all_training_cases(make_dataset: Make) -> None:
    images = [image(30, 30, 30, seed=i) for i in range(2)]
    labels = [disk(30, 30, 30, radius=r) for r in (0.2, 0.25)]
    data = make_dataset(images, labels, channels=("ct",), ending=".nii.gz", spacings=[(1, 1, 1)] * 2)
    (rule,) = make_plan(data, data.train, DataConfig()).normalisation
    inside = np.concatenate([i[0][m > 0] for i, m in zip(images, labels, strict=True)]).astype(float)
    low, high = np.percentile(inside, (0.5, 99.5))
    np.testing.assert_allclose((rule.low, rule.high, rule.mean, rule.sd), (low, high, inside.mean(), inside.std()))
    plan = make_plan(data, data.train, DataConfig())
    out = preprocess_image(read_image(data.train[0].images), plan)
    np.testing.assert_allclose(out, (np.clip(images[0], low, high) - inside.mean()) / inside.std(), atol=1e-5)


def test_ct_without_foreground_is_an_error(make_dataset: Make) -> None:
    data = make_dataset([image(9, 9)], [np.zeros((9, 9), np.uint8)], channels=("CT",))
    with pytest.raises(InputError, match="no labelled foreground"):
        make_plan(data, data.train, DataConfig())


def test_a_constant_image_becomes_zero(make_dataset: Make) -> None:
    plan = plan_of(make_dataset, [(8, 8)])
    assert (preprocess_image(Picture(np.full((1, 8, 8), 7, np.uint8), geometry(None, 2)), plan) == 0).all()


def test_wrong_images_are_named(make_dataset: Make) -> None:
    plan = plan_of(make_dataset, [(8, 8)])
    with pytest.raises(InputError, match=r"x\.png has 3 channel\(s\) where 1"):
        preprocess_image(Picture(image(8, 8, channels=3), geometry(None, 2)), plan, "x.png")
    with pytest.raises(InputError, match="3 axes"):
        preprocess_image(Picture(image(8, 8, 8), geometry(None, 3)), plan)
    broken = np.full((1, 8, 8), np.nan, np.float32)
    with pytest.raises(InputError, match="NaN"):
        preprocess_image(Picture(broken, geometry(None, 2)), plan)


# --- there and back


@pytest.mark.parametrize("shape", [(40, 48), (20, 24, 28)])
def test_nothing_resampled_is_the_identity(make_dataset: Make, shape: tuple[int, ...]) -> None:
    ending = ".png" if len(shape) == 2 else ".nii.gz"
    config = DataConfig(normalisation="none")
    plan = plan_of(make_dataset, [shape], config, ending=ending, spacings=None if len(shape) == 2 else [(2, 1, 1)])
    original = Picture(image(*shape), geometry(None if len(shape) == 2 else (2, 1, 1), len(shape)))
    out = preprocess_image(original, plan)
    np.testing.assert_array_equal(out, original.array)
    np.testing.assert_array_equal(restore(out, original, plan), original.array)


@pytest.mark.parametrize(
    ("shape", "spacing", "config"),
    [
        ((90, 121), None, DataConfig(size=(64, 64))),
        ((20, 41, 30), (3.0, 0.9, 1.1), DataConfig(spacing_mm=(1.5, 1.5, 1.5))),
    ],
)
def test_there_and_back_keeps_shape_and_place(
    make_dataset: Make, shape: tuple[int, ...], spacing: tuple[float, ...] | None, config: DataConfig
) -> None:
    more = {"ending": ".nii.gz", "spacings": [spacing]} if spacing else {}
    plan = plan_of(make_dataset, [shape], config, **more)
    picture = Picture(image(*shape), geometry(spacing, len(shape)))
    label = Picture(disk(*shape), picture.geometry)
    small = preprocess_label(label, plan)
    assert small.shape == preprocess_image(picture, plan).shape[1:] == plan.grid(shape, spacing or (1, 1))
    probabilities = np.stack([small == 0, small == 1]).astype(np.float32)
    back = restore(probabilities, picture, plan)
    assert back.shape == (2, *shape)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back.sum(0), 1, atol=1e-5)
    overlap = 2 * (back.argmax(0) & label.array).sum() / (back.argmax(0).sum() + label.array.sum())
    assert overlap > 0.97


def test_labels_survive_resampling_with_classes_and_ignore(make_dataset: Make) -> None:
    plan = plan_of(make_dataset, [(64, 64)], DataConfig(size=(32, 32)))
    label = np.zeros((64, 64), np.int16)
    label[8:24, 8:24] = 1
    label[32:48, 8:24] = 2
    label[:, 56:] = IGNORE
    out = preprocess_label(Picture(label, geometry(None, 2)), plan)
    assert out.dtype == np.int8
    assert set(np.unique(out)) == {IGNORE, 0, 1, 2}
    np.testing.assert_array_equal(out, label[::2, ::2])


def test_shrinking_averages_instead_of_skipping(make_dataset: Make) -> None:
    plan = plan_of(make_dataset, [(64, 64)], DataConfig(size=(16, 16), normalisation="none"))
    stripes = np.zeros((1, 64, 64), np.uint8)
    stripes[..., ::2] = 200
    out = preprocess_image(Picture(stripes, geometry(None, 2)), plan)
    np.testing.assert_allclose(out[:, 2:-2, 2:-2], 100, atol=1)
    thin = (np.arange(64) % 8 < 5).astype(np.uint8)[None].repeat(64, 0)
    share = preprocess_label(Picture(thin, geometry(None, 2)), plan).mean()
    assert share == pytest.approx(0.5, abs=0.15)


def test_a_smooth_volume_is_resampled_to_the_right_place(make_dataset: Make) -> None:
    smooth = gaussian_filter(np.random.default_rng(0).normal(size=(24, 24, 24)), 4)[None].astype(np.float32)
    config = DataConfig(spacing_mm=(1, 1, 1), normalisation="none")
    plan = plan_of(make_dataset, [(24, 24, 24)], config, ending=".nii.gz", spacings=[(2, 2, 2)])
    fine = preprocess_image(Picture(smooth, geometry((2, 2, 2), 3)), plan)
    assert fine.shape == (1, 48, 48, 48)
    pooled = fine.reshape(1, 24, 2, 24, 2, 24, 2).mean((2, 4, 6))
    assert np.abs(pooled - smooth).max() < 0.1 * np.abs(smooth).max()


def test_real_volumes_come_back_on_their_own_grid(real_data, tmp_path) -> None:
    path = sorted((real_data / "msd_hippocampus_3d" / "masks").iterdir())[0]
    label = read_label(path)
    plan = Plan(
        dims=3,
        channel_names=("MRI",),
        classes=3,
        labels={"background": 0, "a": 1, "b": 2},
        size=None,
        spacing_mm=(0.7, 0.7, 0.7),
        patch=(32, 32, 32),
        normalisation=({"scheme": "zscore"},),
        foreground=0,
        sidemaps={},
        multiple=(16, 16, 16),
    )
    fine = preprocess_label(label, plan)
    back = restore(np.stack([fine == k for k in range(3)]), Picture(label.array[None], label.geometry), plan).argmax(0)
    assert back.shape == label.array.shape
    assert (back != label.array).mean() < 0.02
