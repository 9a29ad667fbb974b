"""`maskmend evaluate`: masks where they lie, whose dataset.json holds, slices as volumes, what is never replaced."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from maskmend.data.formats import Geometry, write_label
from maskmend.errors import InputError
from maskmend.verbs.evaluate import evaluate

LPS = np.diag([-1.0, -1, 1, 1])
LABELS = {"background": 0, "lesion": 1, "ignore": 2}


def mask(shape: tuple[int, ...] = (24, 32, 16)) -> np.ndarray:
    found = np.zeros(shape, np.uint8)
    found[3:8, 4:11, 5:9] = 1
    return found


def save(path: Path, affine: np.ndarray | None = LPS, data: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(mask() if data is None else data, affine), path)
    return path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    save(tmp_path / "ref/a.nii.gz")
    return save(tmp_path / "pred/a.nii.gz").parent, tmp_path / "ref"


# --- where masks lie --------------------------------------------------------------------------------------------------


def test_another_order_of_voxels_is_the_same_mask(tmp_path: Path, maskmend: Any) -> None:
    reference = nibabel.load(save(tmp_path / "ref/a.nii.gz"))
    nibabel.save(nibabel.as_closest_canonical(reference), save(tmp_path / "pred/a.nii.gz"))
    save(tmp_path / "ref/b.nii.gz")
    sitk.WriteImage(
        sitk.DICOMOrient(sitk.ReadImage(tmp_path / "ref/a.nii.gz"), "SAR"), tmp_path / "pred/b.mha"
    )  # axes permuted, too
    result = maskmend("evaluate", tmp_path / "pred", tmp_path / "ref", "--surface")
    assert result.exit_code == 0, result.output
    assert [case.metrics(1)["Dice"] for case in evaluate(tmp_path / "pred", tmp_path / "ref").cases] == [1, 1]


@pytest.mark.parametrize(
    ("affine", "what"),
    [
        (np.diag([-3.0, -3, 3, 1]), "spacing 3 × 3 × 3 mm, but"),
        (LPS + np.eye(4, k=3) * 2.5, r"origin \(-2.5, 0, 0\) mm, but"),
        (LPS @ [[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], "direction"),
    ],
)
def test_another_grid_is_refused_or_resampled(pair: tuple[Path, Path], maskmend: Any, affine: Any, what: str) -> None:
    predictions, references = pair
    save(predictions / "a.nii.gz", affine)
    result = maskmend("evaluate", predictions, references)
    assert result.exit_code == 2
    assert "--resample" in result.output
    assert what.replace("\\", "") in result.output
    assert maskmend("evaluate", predictions, references, "--resample").exit_code == 0
    moved, still = (sitk.ReadImage(path / "a.nii.gz") for path in pair)
    there = sitk.GetArrayFromImage(sitk.Resample(moved, still, sitk.Transform(), sitk.sitkNearestNeighbor)) > 0
    wanted = sitk.GetArrayFromImage(still) > 0
    dice = 2 * (there & wanted).sum() / (there.sum() + wanted.sum())
    assert json.loads((predictions / "summary.json").read_text())["mean"]["1"]["Dice"] == pytest.approx(dice)


def test_headers_of_three_decimals_are_the_same_grid(pair: tuple[Path, Path]) -> None:
    for folder, step in zip(pair, (0.703, 0.703125), strict=True):
        save(folder / "a.nii.gz", LPS * [step, step, 1, 1])
    assert evaluate(*pair).values("Dice", 1) == [1]


def test_a_mask_resampled_from_elsewhere_is_told(pair: tuple[Path, Path]) -> None:
    save(pair[0] / "a.nii.gz", LPS + np.eye(4, k=3) * 500)
    with pytest.warns(
        UserWarning, match=r"pred/a\.nii\.gz: nothing that it marks lies on the grid of .*ref/a\.nii\.gz"
    ):
        assert evaluate(*pair, resample=True).values("Dice", 1) == [0]


@pytest.mark.parametrize("part", [np.s_[3:8, 4:11, 5:9], np.s_[3:8, 4:11, 5:6]])
def test_slicers_masks_are_whole_and_called_like_their_cases(pair: tuple[Path, Path], part: tuple[slice, ...]) -> None:
    """Slicer names them CASE.seg.nrrd, and crops them to what they mark."""
    reference = mask()
    reference[:, :, part[2].stop :] = 0
    save(pair[1] / "a.nii.gz", data=reference)
    whole = sitk.ReadImage(pair[1] / "a.nii.gz")
    (pair[0] / "a.nii.gz").unlink()
    sitk.WriteImage(sitk.DICOMOrient(whole[part], "RAS"), pair[0] / "a.seg.nrrd")
    found = evaluate(*pair)
    assert found.values("Dice", 1) == [1]
    shifted = whole[part]
    shifted.SetOrigin((3.5, 4.0, 5.0))
    sitk.WriteImage(shifted, pair[0] / "a.seg.nrrd")
    with pytest.raises(InputError, match="has the shape"):
        evaluate(*pair)


def test_a_file_that_says_no_place_is_compared_as_it_is_stored(pair: tuple[Path, Path]) -> None:
    predictions, _ = pair
    save(predictions / "a.nii.gz", None)
    with pytest.warns(UserWarning, match="compared as stored"):
        assert evaluate(*pair).values("Dice", 1) == [1]
    (predictions / "a.nii.gz").unlink()
    write_label(predictions / "a.tif", mask().T, Geometry((1.0, 1.0, 1.0)))
    assert evaluate(*pair).values("Dice", 1) == [1]


# --- whose dataset.json -----------------------------------------------------------------------------------------------


def header(folder: Path, **labels: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps({"labels": labels or LABELS}))


@pytest.fixture
def linked(tmp_path: Path) -> tuple[Path, Path]:
    """D/labelsTs -> middle/labels -> store/far/labels."""
    reference = mask()
    reference[:, :3] = 2
    save(tmp_path / "store/far/labels/a.nii.gz", data=reference)
    for link, target in (("middle/labels", "../store/far/labels"), ("D/labelsTs", "../middle/labels")):
        (tmp_path / link).parent.mkdir()
        (tmp_path / link).symlink_to(target)
    return save(tmp_path / "pred/a.nii.gz").parent, tmp_path / "D/labelsTs"


@pytest.mark.parametrize("place", ["D", "middle", "store/far", "store"])
def test_the_one_beside_a_link_or_what_it_leads_to(linked: tuple[Path, Path], place: str) -> None:
    header(linked[1].parents[1] / place)
    summary = evaluate(*linked)
    assert summary.labels == {"lesion": 1}
    assert summary.values("Dice", 1) == [1]


def test_the_nearest_to_what_was_named_holds(
    linked: tuple[Path, Path], maskmend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictions, references = linked
    root = predictions.parent
    for place in ("D", "middle", "store/far"):
        header(root / place, background=0, **{place.replace("/", "_"): 1, "ignore": 2})
    assert list(evaluate(predictions, references).labels) == ["D"]
    assert list(evaluate(predictions, root / "D/../middle/labels").labels) == ["middle"]
    assert list(evaluate(predictions, references, dataset=root / "store/far").labels) == ["store_far"]
    monkeypatch.chdir(root / "D")
    assert list(evaluate(predictions, Path("labelsTs")).labels) == ["D"]
    (root / "other.json").write_text(json.dumps({"labels": LABELS}))
    result = maskmend("evaluate", predictions, references, "--dataset", root / "other.json")
    assert "lesion" in result.output
    result = maskmend("evaluate", predictions, references, "--dataset", root / "nowhere")
    assert result.exit_code == 2
    assert "nowhere is not there" in result.output


def test_the_one_that_a_folder_of_links_leads_to(linked: tuple[Path, Path], tmp_path: Path) -> None:
    predictions, _ = linked
    far = tmp_path / "store/far"
    header(far)
    (tmp_path / "some").mkdir()
    (tmp_path / "some/a.nii.gz").symlink_to("../store/far/labels/a.nii.gz")
    assert evaluate(predictions, tmp_path / "some").labels == {"lesion": 1}
    save(predictions / "b.nii.gz")
    save(tmp_path / "elsewhere/b.nii.gz")
    (tmp_path / "some/b.nii.gz").symlink_to("../elsewhere/b.nii.gz")
    assert evaluate(predictions, tmp_path / "some").labels == {"1": 1, "2": 2}  # they lead to several places


# --- what is never replaced -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "output", ["cases.csv", "pred/a.nii.gz", "ref/a.nii.gz", "new.txt", "new", "CASES.CSV", "", "ref/dataset.json"]
)
def test_a_summary_is_called_json(
    pair: tuple[Path, Path], maskmend: Any, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pair[0].parent)
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    result = maskmend("evaluate", "pred", "ref", "-o", output)
    assert result.exit_code == 2
    assert result.output.startswith("error: ")
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("there", ["ref/dataset.json", "run/config.json", "run/cases.csv", "pred/summary.json"])
def test_only_what_an_evaluation_wrote_is_replaced(pair: tuple[Path, Path], maskmend: Any, there: str) -> None:
    path = pair[0].parent / there
    header(path.parent) if path.name == "dataset.json" else path.parent.mkdir(exist_ok=True)
    path.write_text('{"spacing": [1, 1]}' if path.name != "dataset.json" else path.read_text())
    before = path.read_text()
    output = path.with_suffix(".json") if path.suffix == ".csv" else path
    result = maskmend("evaluate", *pair, "-o", output)
    assert result.exit_code == 2
    assert f"{there} is there, and is no" in result.output
    assert path.read_text() == before
    assert maskmend("evaluate", *pair, "-o", pair[0].parent / "scores/s.json").exit_code == 0
    assert maskmend("evaluate", *pair, "-o", pair[0].parent / "scores/s.json").exit_code == 0


def test_nothing_is_written_into_a_data_set(tmp_path: Path, maskmend: Any) -> None:
    data, predictions = tmp_path / "D", save(tmp_path / "pred/a.nii.gz").parent
    references = save(data / "labelsTs/a.nii.gz").parent
    (data / "labelsTr").mkdir()
    header(data)
    header(predictions)  # nnU-Net writes one beside what it predicts
    before = sorted(data.rglob("*"))
    for asked in (
        (references, predictions),
        (predictions, references, "-o", data),
        (predictions, references, "-o", data / "labelsTs/s.json"),
    ):
        result = maskmend("evaluate", *asked)
        assert result.exit_code == 2
        assert "name the predictions first and the true masks second, or choose another place with -o" in result.output
    assert sorted(data.rglob("*")) == before
    assert maskmend("evaluate", references, predictions, "-o", tmp_path / "s.json").exit_code == 0
    assert maskmend("evaluate", predictions, references).exit_code == 0


# --- slices as volumes ------------------------------------------------------------------------------------------------


def slices(root: Path, ending: str = ".png", spacing: tuple[float, float] = (1.0, 1.0)) -> tuple[np.ndarray, ...]:
    """Two volumes as slices in root/pred and root/D/labelsTs; returned are both, as (2, D, H, W)."""
    rng = np.random.default_rng(0)
    truth, guess = (rng.integers(0, 2, (2, 3, 9, 8)).astype(np.uint8) for _ in range(2))
    for folder, both in (("D/labelsTs", truth), ("pred", guess)):
        for name, volume in zip("vw", both, strict=True):
            for place, array in enumerate(volume):
                path = root / folder / f"{name}_s{place:03d}{ending}"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_label(path, array, Geometry(spacing))
    header(root / "D")
    return truth, guess


def table(root: Path, step: str = "") -> None:
    rows = [f"{name}_s{place:03d},{name},{place + 5},{step}" for name in "vw" for place in range(3)]
    (root / "D/volumes.csv").write_text("\n".join(["case,volume,slice,spacing_mm", *rows]) + "\n")


@pytest.mark.parametrize(("ending", "spacing", "step"), [(".png", (1.0, 1.0), ""), (".tif", (0.5, 0.25), "2.5")])
def test_slices_are_scored_as_the_volume(
    tmp_path: Path, maskmend: Any, ending: str, spacing: tuple[float, float], step: str
) -> None:
    truth, guess = slices(tmp_path, ending, spacing)
    table(tmp_path, step)
    result = maskmend("evaluate", tmp_path / "pred", tmp_path / "D/labelsTs", "--surface")
    assert result.exit_code == 0, result.output
    assert "volumes" in result.output
    found = {row["case"]: row for row in csv.DictReader((tmp_path / "pred/cases.csv").open())}
    for folder, both in (("whole", truth), ("drawn", guess)):
        for name, volume in zip("vw", both, strict=True):
            steps = [*spacing[::-1], float(step or 1)]
            save(tmp_path / folder / f"{name}.nii", np.diag([*steps, 1]), volume.T)
    whole = evaluate(tmp_path / "drawn", tmp_path / "whole", surface=True)
    for case in whole.cases:
        expected = {metric: str(value) for metric, value in case.metrics(1).items()}
        assert {metric: found[case.name][metric] for metric in expected} == expected
    summary = json.loads((tmp_path / "pred/summary.json").read_text())
    assert summary["metric_per_case"][0]["reference_file"] == str(tmp_path / "D/labelsTs/v")


def test_a_recipe_s_names_say_the_same(tmp_path: Path) -> None:
    slices(tmp_path)
    assert len(evaluate(tmp_path / "pred", tmp_path / "D/labelsTs").cases) == 6
    table(tmp_path)
    expected = evaluate(tmp_path / "pred", tmp_path / "D/labelsTs").case_means()
    (tmp_path / "D/volumes.csv").unlink()
    about = json.loads((tmp_path / "D/dataset.json").read_text())
    (tmp_path / "D/dataset.json").write_text(json.dumps(about | {"recipe": "slices"}))
    assert evaluate(tmp_path / "pred", tmp_path / "D/labelsTs").case_means() == expected


def test_what_hinders_a_volume_is_told(tmp_path: Path, maskmend: Any) -> None:
    slices(tmp_path, ".tif", (0.5, 0.25))
    table(tmp_path)
    asked = ("evaluate", tmp_path / "pred", tmp_path / "D/labelsTs")
    assert maskmend(*asked).exit_code == 0
    result = maskmend(*asked, "--surface")
    assert result.exit_code == 2
    assert "does not say how far slices of v lie apart" in result.output
    (tmp_path / "D/labelsTs/w_s001.tif").unlink()
    result = maskmend(*asked)
    assert result.exit_code == 2
    assert "counts w_s001 to the volume w, but it is not there" in result.output


def test_references_as_people_have_them(tmp_path: Path) -> None:
    drawn = np.zeros((8, 8), np.uint8)
    drawn[2:5, 2:5] = 1
    for name in "ab":
        write_label(tmp_path / "pred" / f"{name}.png", drawn, Geometry((1.0, 1.0)))
    write_label(tmp_path / "ref" / "a.png", drawn * 255, Geometry((1.0, 1.0)))
    with pytest.raises(InputError, match=r"pred/a\.png holds the value 1, .* a 0/255 mask: convert the references"):
        evaluate(tmp_path / "pred", tmp_path / "ref")
    Image.fromarray(drawn * 255).save(tmp_path / "ref" / "b.JPG", "jpeg")
    with pytest.raises(InputError, match=r"ref/b\.JPG is a JPEG"):
        evaluate(tmp_path / "pred", tmp_path / "ref")
