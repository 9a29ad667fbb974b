"""Handing a model on: onnxruntime and MONAI give what `maskmend predict` gives, on phantoms that it prepared."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.system.conftest import TINY, Maskmend

from maskmend.data.formats import read_image, read_label
from maskmend.data.phantom import write_phantom
from maskmend.data.preprocess import preprocess_image
from maskmend.infer.export import LIBRARIES, runner
from maskmend.infer.predict import predict_case
from maskmend.runs.folder import load_run

for _library in LIBRARIES:
    pytest.importorskip(_library, reason=f"{_library} is not installed: pip install '.[export]'")

PROBABILITY = 1e-4
"""How far onnxruntime's probabilities may be from ours; about 1e-6 is usual."""
VOXELS = 1e-4
"""Share of voxels in which MONAI may decide a tie the other way; none is usual."""


@dataclass
class Handed:
    """A run, its data set and what was exported of it."""

    data: Path
    run: Path
    model: Path
    said: str


SETTINGS = {
    "volumes": (3, ("data.spacing_mm=[2.5,1.5,1.5]", "data.patch=[16,16,16]"), ".nii.gz"),
    "pictures": (2, ("data.size=[48,40]",), ".png"),
}


@pytest.fixture(scope="module", params=[*SETTINGS])
def handed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, maskmend: Maskmend) -> Handed:
    root = tmp_path_factory.mktemp("export")
    dims, words, _ = SETTINGS[request.param]
    data, run, model = root / "data", root / "RUN", root / "MODEL"
    write_phantom(data, dims, train=5, test=2, size=64 if dims == 2 else None)
    learn = ("train.epochs=4", "optim.lr=0.02", "network.norm=instance", "method.networks=2")
    result = maskmend("train", data, "-o", run, "--method", "supervised", *TINY, *learn, *words)
    assert result.exit_code == 0, result.output
    result = maskmend("export", run, "-o", model)
    assert result.exit_code == 0, result.output
    return Handed(data, run, model, result.stdout)


@pytest.fixture(scope="module", name="maskmend")
def _maskmend() -> Maskmend:
    from tests.system.conftest import maskmend

    return maskmend


@pytest.mark.slow
def test_onnxruntime_answers_as_we_do(handed: Handed) -> None:
    method, plan, settings = load_run(handed.run, "best", torch.device("cpu"))
    exported, seen = runner(handed.model / "models" / "model.onnx"), set()
    for path in sorted((handed.data / "imagesTs").iterdir()):
        image = preprocess_image(read_image([path]), plan)
        ours, theirs = (
            predict_case(model, image, plan, settings.predict, torch.device("cpu"))
            for model in (method.predict, exported)
        )
        assert np.abs(ours - theirs).max() <= PROBABILITY
        seen |= set(np.unique(ours.argmax(0)).tolist())
    assert len(seen) > 1, "the model says one class everywhere, which shows nothing"
    assert "takes every batch and size" in handed.said


@pytest.mark.slow
def test_the_bundle_writes_the_masks_of_predict(handed: Handed, maskmend: Maskmend, tmp_path: Path) -> None:
    from monai.bundle import ConfigWorkflow

    images, config = handed.data / "imagesTs", handed.model / "configs" / "inference.json"
    assert maskmend("predict", handed.run, images, "-o", tmp_path / "ours").exit_code == 0
    places = {"bundle_root": handed.model, "dataset_dir": images, "output_dir": tmp_path / "theirs"}
    ending = next(ending for dims, _, ending in SETTINGS.values() if dims == load_plan(handed)["dims"])
    flow = ConfigWorkflow(str(config), workflow_type="infer", ending=ending, **{k: str(v) for k, v in places.items()})
    flow.initialize()
    assert flow.run() == [2]
    assert flow.check_properties() == []
    for path in sorted((tmp_path / "theirs").iterdir()):
        ours, theirs = read_label(tmp_path / "ours" / path.name), read_label(path)
        assert (ours.array != theirs.array).mean() <= VOXELS, path.name
        assert ours.geometry.spacing_mm == pytest.approx(theirs.geometry.spacing_mm)
        if ours.geometry.origin is not None:
            np.testing.assert_allclose(ours.geometry.affine, theirs.geometry.affine, atol=1e-4)


def load_plan(handed: Handed) -> dict[str, object]:
    content: dict[str, object] = json.loads((handed.run / "plan.json").read_text())
    return content


@pytest.mark.slow
def test_the_preprocessing_is_written_down(handed: Handed) -> None:
    plan = load_plan(handed)
    about = json.loads((handed.model / "configs" / "metadata.json").read_text())
    assert about["maskmend"]["spacing_mm"] == plan["spacing_mm"]
    assert about["maskmend"]["size"] == plan["size"]
    assert about["maskmend"]["classes"] == plan["labels"]
    assert [rule["channel"] for rule in about["maskmend"]["normalisation"]] == plan["channel_names"]
    text = (handed.model / "docs" / "README.md").read_text()
    assert all(f"| {value} | {name} |" in text for name, value in dict(plan["labels"]).items())
    assert ("1.5 × 1.5 mm" if plan["dims"] == 3 else "48 × 40 pixels") in text
    import onnxruntime

    session = onnxruntime.InferenceSession(str(handed.model / "models" / "model.onnx"))
    kept = json.loads(session.get_modelmeta().custom_metadata_map["maskmend"])
    assert kept == about["maskmend"]


# --- bad input --------------------------------------------------------------------------------------------------------


def refused(result: object, *parts: object) -> None:
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert all(str(part) in result.stderr for part in parts), result.stderr


def test_nothing_is_overwritten(maskmend: Maskmend, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    refused(maskmend("export", trained, "-o", tmp_path), tmp_path, "not empty")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_run_without_a_checkpoint(maskmend: Maskmend, a_run: Path, tmp_path: Path) -> None:
    for path in a_run.glob("*.ckpt"):
        path.unlink()
    refused(maskmend("export", a_run, "-o", tmp_path / "OUT"), "best.ckpt", "train first")
    refused(maskmend("export", tmp_path / "none", "-o", tmp_path / "OUT"), "plan.json")
    assert not (tmp_path / "OUT").exists()


def test_a_missing_library_is_a_sentence(
    maskmend: Maskmend, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskmend.infer.export.find_spec", lambda name: None if name == "onnxruntime" else name)
    result = maskmend("export", trained, "-o", tmp_path / "OUT")
    refused(result, "export needs onnxruntime: pip install 'maskmend[export]'.")
    assert not (tmp_path / "OUT").exists()


@pytest.mark.slow
def test_networks_that_cannot_be_written(
    maskmend: Maskmend, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskmend.infer.export.TOLERANCE", -1.0)  # so that nothing agrees
    refused(maskmend("export", trained, "-o", tmp_path / "OUT"), "cannot be written as ONNX")
    assert not list(tmp_path.iterdir())
