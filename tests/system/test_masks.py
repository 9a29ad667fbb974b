"""What `train` says of masks that are small: for the grid, for superpixels, for tau."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from maskmend.data.formats import Geometry, write_image, write_label
from maskmend.errors import InputError
from maskmend.verbs.train import train

WORDS = ("fold=all", "network.width=2", "network.strides=[2]", "train.threads=1")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Four pictures of 48 x 48, a large structure, a small one and, in two, a line of one pixel."""
    rng = np.random.default_rng(0)
    for number in range(4):
        label = np.zeros((48, 48), np.uint8)
        label[4:30, 4:30], label[10:14, 36:42] = 1, 2
        label[40, 2 : 40 * (number % 2) + 2] = 3
        name, place = f"c{number}", Geometry((1.0, 1.0))
        image = (20 * label + rng.integers(0, 100, label.shape)).astype(np.uint8)
        write_image(tmp_path / "imagesTr" / f"{name}_0000.png", image, place)
        write_label(tmp_path / "labelsTr" / f"{name}.png", label, place)
    said = {"channel_names": {"0": "grey"}, "labels": {"background": 0, "lung": 1, "node": 2, "duct": 3}}
    (tmp_path / "dataset.json").write_text(json.dumps(said | {"numTraining": 4, "file_ending": ".png"}))
    return tmp_path


def test_small_classes_are_named_and_superpixels_fit_them(dataset: Path, tmp_path: Path) -> None:
    """The smallest, of 24 pixels in its median mask, has room for four superpixels; two are no more than tau."""
    run = tmp_path / "run"
    with pytest.warns(UserWarning, match="superpixel_pixels") as said:
        train(dataset, run, "sp_guided", overrides=("method.tau=0.02", *WORDS), fast_dev_run=True)
    words = " ".join(str(warning.message) for warning in said)
    assert "superpixel_pixels is 6, not 64, so that the median mask of 'node' (24 pixels) has room for 4" in words
    assert "method.tau=0.02 drops 2.00% of the pixels" in words
    assert "'node' (1.04%) and 'duct' (0.87%)" in words
    assert "method.ranking=class" in words
    assert json.loads((run / "plan.json").read_text())["sidemaps"]["superpixel_pixels"] == 6


def test_a_class_that_resizing_removes_is_named(dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(
        InputError, match=r"data\.size=\[16, 16\] removes 'duct' in 2 of the 2 masks that have it; set a"
    ):
        train(dataset, run, "supervised", overrides=("data.size=[16,16]", *WORDS))
    assert not run.exists()
