"""What a bundle does to an image is what `preprocess_image` does to it, and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from maskmend.data.formats import Geometry, Picture
from maskmend.data.normalisation import Normalisation
from maskmend.data.plan import Plan
from maskmend.data.preprocess import preprocess_image, restore
from maskmend.data.sidemaps import SideMapConfig
from maskmend.infer.export_transforms import FromModel, ToModel

CT = Normalisation(scheme="ct", low=-50, high=200, mean=60, sd=40)
SPACING = {2: (0.8, 1.1), 3: (2.0, 0.8, 1.1)}


def plan_of(dims: int, rules: tuple[Normalisation, ...], **more: object) -> Plan:
    """For images of so many axes, three classes."""
    common = {"patch": (16,) * dims, "multiple": (16,) * dims, "foreground": 0.3, "sidemaps": SideMapConfig()}
    return Plan(
        dims=dims,
        channel_names=tuple(f"c{n}" for n in range(len(rules))),
        classes=3,
        labels={"background": 0, "a": 1, "b": 2},
        normalisation=rules,
        **{"size": None, "spacing_mm": None, **common, **more},
    )


def loaded(picture: Picture, slices: int | None = None) -> MetaTensor:
    """As MONAI loads it: (C, X, Y, Z). slices: the axis of one slice, if it is a picture in a volume."""
    spacing = [*picture.geometry.spacing_mm]
    array = picture.array
    if slices is not None:
        array = np.expand_dims(array, slices + 1)
        spacing.insert(slices, 7.0)
    axes = (0, *range(array.ndim - 1, 0, -1))
    affine = np.diag([*reversed(spacing), *[1.0] * (4 - len(spacing))])
    return MetaTensor(
        torch.from_numpy(array.transpose(axes).astype(np.float32)),
        affine=torch.from_numpy(affine),
        meta={"filename_or_obj": "case_0000.nii.gz"},
    )


def to_model(plan: Plan) -> ToModel:
    rules = [rule.model_dump() for rule in plan.normalisation]
    return ToModel(plan.dims, rules, plan.spacing_mm, plan.size)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    "grid", [{}, {"spacing": 1.6}, {"size": 10}, {"spacing": None}], ids=["as it is", "spacing", "size", "same"]
)
def test_images_become_those_of_training(dims: int, grid: dict[str, float | None]) -> None:
    rng = np.random.default_rng(0)
    rules = (CT, Normalisation(scheme="zscore"), Normalisation(scheme="rgb_to_0_1"), Normalisation(scheme="none"))
    more: dict[str, object] = {}
    if "spacing" in grid:
        more["spacing_mm"] = SPACING[dims] if grid["spacing"] is None else (grid["spacing"],) * dims
    if "size" in grid:
        more["size"] = (grid["size"],) * dims
    plan = plan_of(dims, rules, **more)
    picture = Picture(rng.normal(50, 90, (4, 9, 14, 11)[: dims + 1]).astype(np.float32), Geometry(SPACING[dims]))
    case = to_model(plan)({"image": loaded(picture)})
    expected = preprocess_image(picture, plan)
    assert case["image"].shape == expected.shape
    np.testing.assert_allclose(case["image"].numpy(), expected, atol=1e-5)

    prob = np.random.default_rng(1).random((3, *expected.shape[1:]), np.float32)
    label = FromModel()({**case, "pred": torch.from_numpy(prob)})["pred"]
    own = restore(prob, picture, plan).argmax(0)
    assert np.array_equal(label.numpy()[0].transpose(), own)
    assert label.meta["filename_or_obj"] == "case.nii.gz"
    assert torch.equal(label.affine, loaded(picture).affine)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_of_one_slice_is_a_picture(axis: int) -> None:
    picture = Picture(np.random.default_rng(0).random((1, 9, 14), np.float32), Geometry(SPACING[2]))
    plan = plan_of(2, (Normalisation(scheme="zscore"),), spacing_mm=(1.6, 1.6))
    case = to_model(plan)({"image": loaded(picture, axis)})
    np.testing.assert_allclose(case["image"].numpy(), preprocess_image(picture, plan), atol=1e-5)
    label = FromModel()({**case, "pred": torch.rand(3, *case["image"].shape[1:])})["pred"]
    assert label.shape == loaded(picture, axis).shape


def test_other_images_are_refused() -> None:
    plan = plan_of(3, (CT,))
    two = Picture(np.zeros((2, 4, 5, 6), np.float32), Geometry(SPACING[3]))
    with pytest.raises(ValueError, match="2 channels in case_0000"):
        to_model(plan)({"image": loaded(two)})
    flat = Picture(np.zeros((1, 4, 5), np.float32), Geometry(SPACING[2]))
    with pytest.raises(ValueError, match="2 axes in case_0000"):
        to_model(plan)({"image": loaded(flat)})
