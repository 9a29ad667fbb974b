"""Side by side with nnU-Net itself: it takes what we mend, and deals folds and scores masks as we do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.system.test_mend import accept_all
from tests.system.test_regions import declare
from tests.toy import write_toy

from maskmend import audit, evaluate, mend
from maskmend.data.dataset import Dataset, open_dataset
from maskmend.data.formats import read_label, write_json, write_label
from maskmend.data.splits import split

pytest.importorskip("nnunetv2", reason="nnU-Net is not installed beside MaskMend: pip install nnunetv2")
pytestmark = pytest.mark.slow


@pytest.fixture(
    scope="module",
    params=[(kind, doubtful) for kind in ("classes", "regions") for doubtful in ("keep", "ignore")],
    ids="-".join,
)
def mended(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A data set that was audited and mended, with regions or without, with ignored voxels or without."""
    kind, doubtful = request.param
    root = tmp_path_factory.mktemp("nnunet")
    given = write_toy(root / "Dataset001_Given", 3, 4, cases=11, clean=2)
    if kind == "regions":
        declare(given)
    audit(given, root / "audit", predictions=[given / "truth"])
    accept_all(root / "audit", 2)
    mend(root / "audit", root / "Dataset002_Mended", doubtful=doubtful)
    dataset = open_dataset(root / "Dataset002_Mended")
    ignored = any((read_label(case.label).array == 4).any() for case in dataset.train if case.label)
    assert (bool(dataset.regions), ignored) == (kind == "regions", doubtful == "ignore")
    return dataset


def test_nnunet_finds_nothing_wrong_with_a_mended_data_set(mended: Dataset) -> None:
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

    verify_dataset_integrity(str(mended.root), num_processes=1)


def test_labels_and_regions_are_nnunets(mended: Dataset) -> None:
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    about = json.loads((mended.root / "dataset.json").read_text())
    theirs = LabelManager(about["labels"], about.get("regions_class_order"))
    assert [*mended.labels.values()] == theirs.all_labels
    assert (mended.ignore, [*mended.regions.values()]) == (theirs.ignore_label, theirs.all_regions or [])


def test_folds_are_nnunets(mended: Dataset) -> None:
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    names = list(np.sort([case.name for case in mended.train]))
    for fold, theirs in enumerate(generate_crossval_split(names, seed=12345, n_splits=5)):
        ours = [[case.name for case in part] for part in split(mended, fold)]
        assert ours == [theirs["train"], theirs["val"]]


def test_the_summary_is_nnunets(mended: Dataset, tmp_path: Path) -> None:
    """nnUNetv2_evaluate_folder of the given masks against the mended ones; of one, both without the last class."""
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder2

    references, predictions = tmp_path / "references", tmp_path / "predictions"
    for folder, name in ((references, "labelsTr"), (predictions, "labelsTr_given")):
        path = min(Path(shutil.copytree(mended.root / name, folder)).iterdir())
        mask = read_label(path)
        write_label(path, np.where(mask.array == 3, 0, mask.array), mask.geometry)
    ours = evaluate(predictions, references, tmp_path / "ours.json", dataset=mended.root)
    write_json(tmp_path / "plans.json", {"label_manager": "LabelManager"})
    compute_metrics_on_folder2(
        str(references), str(predictions), str(mended.root / "dataset.json"), str(tmp_path / "plans.json"),
        str(tmp_path / "theirs.json"), num_processes=1,
    )  # fmt: skip
    assert 0 < ours.foreground_mean["Dice"] < 1
    assert set(ours.empty.values()) == {0, 1}, "a class that is nowhere to be seen makes NaN"
    assert (tmp_path / "ours.json").read_text().rstrip() == (tmp_path / "theirs.json").read_text().rstrip()
