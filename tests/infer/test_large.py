"""Answers that memory may not hold: in files, the same numbers, and nothing left behind."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.infer.test_predict import CPU, EXACT, plan_of, trained
from torch import Tensor

from maskmend.data.backed import Room, planes
from maskmend.data.formats import Geometry, Picture, read_label, write_image
from maskmend.errors import InputError
from maskmend.infer import large
from maskmend.infer.predict import predict_batch, predict_files

PLACED = Geometry((2.0, 1.0, 1.0), (0.0,) * 3, tuple(np.eye(3).ravel()))


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is larger than a window is large, and no plane stays with the next."""
    monkeypatch.setattr(large, "LARGE", 1000)
    monkeypatch.setattr(large, "planes", lambda shape: planes(shape, 1))


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("shape", [(40, 33, 20), (12, 50, 32)])
def test_files_hold_what_memory_would(shape: tuple[int, ...], mirror: bool, tmp_path: Path) -> None:
    image, config = (
        np.random.default_rng(0).random((1, *shape), np.float32),
        EXACT.model_copy(update={"mirror": mirror}),
    )
    plan = plan_of((16, 32, 16), classes=3)
    ask = (trained(3).predict, [image], plan, config, CPU)
    found = predict_batch(*ask, Room(tmp_path))
    assert isinstance(found, np.memmap)
    np.testing.assert_allclose(found, predict_batch(*ask), atol=1e-6)


def kinds(image: Tensor) -> Tensor:
    """Six classes, by the brightness of a voxel."""
    return (-(image - torch.arange(6.0).view(1, 6, 1, 1, 1)).square()).softmax(1)


@pytest.mark.parametrize("spacing", [None, (1.0, 1.0, 1.0)])
def test_the_files_written_are_the_same(
    spacing: tuple[float, ...] | None, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    image = np.random.default_rng(0).integers(0, 6, (20, 24, 24)).astype(np.uint8)
    write_image(tmp_path / "a.nii.gz", image, PLACED)
    plan = plan_of((16, 16, 16), classes=6, spacing_mm=spacing)
    for name in ("whole", "parts"):
        if name == "parts":
            request.getfixturevalue("files")
        cases = [("a", [tmp_path / "a.nii.gz"])]
        assert not predict_files(kinds, cases, plan, EXACT, tmp_path / name, True, CPU)
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["a.nii.gz", "a.npz"]
    whole, parts = (np.load(tmp_path / name / "a.npz")["probabilities"] for name in ("whole", "parts"))
    assert parts.dtype == np.float16
    np.testing.assert_allclose(parts, whole, atol=1e-3)
    drawn = [read_label(tmp_path / name / "a.nii.gz") for name in ("whole", "parts")]
    assert (drawn[0].array != drawn[1].array).mean() < 1e-3  # equal ones are rounded in another order
    assert drawn[0].geometry == drawn[1].geometry


@pytest.mark.usefixtures("files")
def test_memory_does_not_grow_with_the_classes(tmp_path: Path) -> None:
    image = np.zeros((1, 64, 64, 64), np.float32)

    def peak(classes: int) -> int:
        plan = plan_of((16, 16, 16), classes=classes)
        tracemalloc.start()
        room = Room(tmp_path / str(classes))
        found = predict_batch(
            lambda x: torch.full((1, classes, *x.shape[2:]), 1 / classes), [image], plan, EXACT, CPU, room
        )
        large.labels(large.restored(found[0], Picture(image, Geometry((1.0,) * 3)), plan, room), room)
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(40) < peak(2) + 40 * 16**3 * 4 * 4  # but for what a window takes


@pytest.mark.usefixtures("files")
def test_a_model_without_numbers_is_told(tmp_path: Path) -> None:
    ask = (lambda x: kinds(x) / 0, [np.zeros((1, 40, 40, 40), np.float32)], plan_of((16, 16, 16)), EXACT, CPU)
    with pytest.raises(InputError, match="no numbers"):
        predict_batch(*ask, Room(tmp_path))


def test_a_disk_without_room_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"GiB are needed there for a while, and"):
        Room(tmp_path / "room").zeros((2**40, 2**10))
