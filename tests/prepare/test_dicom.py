"""Folders of patients with DICOM series and masks become nnU-Net data sets that name no patient."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pydicom = pytest.importorskip("pydicom", reason="DICOM needs pydicom and highdicom: pip install 'maskmend[dicom]'")
pytest.importorskip("highdicom", reason="DICOM needs pydicom and highdicom: pip install 'maskmend[dicom]'")

from tests.dicoms import SAGITTAL, circle, make_rtstruct, make_seg, make_series  # noqa: E402

from maskmend.data.dataset import open_dataset  # noqa: E402
from maskmend.data.formats import read_image, read_label  # noqa: E402
from maskmend.errors import InputError  # noqa: E402
from maskmend.prepare import prepare  # noqa: E402

SHAPE = (6, 20, 22)
VALUES = np.random.default_rng(1).integers(0, 2000, SHAPE)
ORGAN = np.zeros(SHAPE, bool)
ORGAN[1:5, 4:14, 5:15] = True
LESION = np.zeros(SHAPE, bool)
LESION[2:4, 6:9, 7:10] = True


def patient(root: Path, number: int, masks: Mapping[str, NDArray[Any]] | None = None, **how: Any) -> Any:
    """A series in MUSTERFRAU_<number>/CT, and its DICOM-SEG beside."""
    scan = make_series(root / f"MUSTERFRAU_{number}" / "CT", VALUES + number, seed=number, **how)
    for path in scan.folder.iterdir():
        read = pydicom.dcmread(path)
        read.PatientID = f"PID{number}"
        read.save_as(path)
    make_seg(root / f"MUSTERFRAU_{number}" / "seg.dcm", scan, masks or {"Liver": ORGAN, "lesion": LESION})
    return scan


def fingerprint(root: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*") if path.is_file()}


def test_patients_become_cases(tmp_path: Path) -> None:
    root = tmp_path / "hospital"
    first = patient(root, 1)
    patient(root, 2, {"lesion": LESION, "liver": ORGAN}, axes=SAGITTAL)
    before = fingerprint(root)
    with pytest.warns(UserWarning, match="structures overlap; the smaller in all cases wins: lesion over Liver"):
        made = prepare(root, tmp_path / "out")
    assert fingerprint(root) == before
    assert [case.name for case in made.train] == ["case_001", "case_002"]
    assert made.labels == {"background": 0, "lesion": 1, "Liver": 2}
    assert made.channel_names == ("CT",)
    for number, case in enumerate(made.train, 1):
        assert case.label is not None
        np.testing.assert_array_equal(read_image(case.images).array[0], VALUES + number - 1024)
        np.testing.assert_array_equal(read_label(case.label).array, np.where(LESION, 1, np.where(ORGAN, 2, 0)))
    np.testing.assert_allclose(read_image(made.train[0].images).geometry.affine, first.affine, atol=1e-4)
    assert not (tmp_path / "out" / "patients.csv").exists(), "each has one case"


def test_the_smaller_of_all_cases_wins_in_every_case(tmp_path: Path) -> None:
    """In the second case the lesion is the larger one."""
    root = tmp_path / "hospital"
    patient(root, 1)
    patient(root, 2, {"Liver": LESION, "lesion": LESION | (np.arange(22) == 21)})
    with pytest.warns(UserWarning, match="lesion over Liver"):
        made = prepare(root, tmp_path / "out")
    label = read_label(made.train[1].label).array
    assert (label[LESION] == made.labels["lesion"]).all()


def test_contours_and_segments_of_one_series_go_together(tmp_path: Path) -> None:
    root = tmp_path / "hospital"
    scan = patient(root, 1, {"liver": ORGAN})
    drawn = {"kidney": [scan.points(circle((16, 18), 2, scan.spacing_mm[1:]), 5)]}
    make_rtstruct(root / "MUSTERFRAU_1" / "rt.dcm", scan, drawn)
    made = prepare(root, tmp_path / "out")
    assert made.labels == {"background": 0, "kidney": 1, "liver": 2}
    label = read_label(made.train[0].label).array
    np.testing.assert_array_equal(label == 2, ORGAN)
    assert label[5, 16, 18] == 1


def test_one_structure_drawn_twice(tmp_path: Path) -> None:
    scan = patient(tmp_path / "hospital", 1)
    make_seg(tmp_path / "hospital" / "MUSTERFRAU_1" / "again.dcm", scan, {"LIVER": ORGAN})
    refused(tmp_path, r"\(no\. 1 by name\)/seg\.dcm and .*again\.dcm both draw Liver on one series; keep one")


def test_a_name_twice_in_one_file_and_the_name_of_the_rest(tmp_path: Path) -> None:
    scan = patient(tmp_path / "hospital", 1, {"lesion": ORGAN, "Lesion": LESION})
    refused(tmp_path, r"seg\.dcm draws Lesion twice on one series; join the two")
    make_seg(tmp_path / "hospital" / "MUSTERFRAU_1" / "seg.dcm", scan, {"Background": ~ORGAN, "liver": ORGAN})
    refused(tmp_path, r"seg\.dcm: a structure is named Background, .*; rename it, or choose structures")
    made = prepare(tmp_path / "hospital", tmp_path / "out", structures=("liver",))
    assert made.labels == {"background": 0, "liver": 1}


def test_structures_that_are_not_wanted_are_not_looked_at(tmp_path: Path) -> None:
    scan = patient(tmp_path / "hospital", 1, {"liver": ORGAN})
    off = scan.points(circle((10, 10), 4, scan.spacing_mm[1:]), 2.5)
    make_rtstruct(tmp_path / "hospital" / "rt.dcm", scan, {"Musterfrau plan": [off]})
    refused(tmp_path, r"rt\.dcm, structure no\. 1: a contour lies 1\.5 mm off")
    made = prepare(tmp_path / "hospital", tmp_path / "out", structures=("liver",))
    assert made.labels == {"background": 0, "liver": 1}


def test_a_folder_named_like_the_patient_is_not_told(tmp_path: Path) -> None:
    patient(tmp_path / "hospital", 1)
    root = tmp_path / "hospital" / "MUSTERFRAU_1"
    (root / "seg.dcm").unlink()
    with pytest.raises(InputError, match=r"hospital/… holds 1 DICOM series") as raised:
        prepare(root, tmp_path / "out")
    assert "musterfrau" not in str(raised.value).casefold()


def test_structures_are_chosen_and_ordered(tmp_path: Path) -> None:
    patient(tmp_path / "hospital", 1, {"Body": ORGAN | True, "Liver": ORGAN, "lesion": LESION})
    with pytest.warns(UserWarning, match="overlap"):
        made = prepare(tmp_path / "hospital", tmp_path / "out", structures=("liver", "Lesion"))
    assert made.labels == {"background": 0, "liver": 1, "Lesion": 2}
    refused(tmp_path, "no mask is of spleen", structures=("spleen",))
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="holds no DICOM, and structures=liver is of DICOM"):
        prepare(tmp_path / "other", tmp_path / "new", structures=("liver",))


def test_patients_stay_together(tmp_path: Path) -> None:
    root = tmp_path / "hospital"
    for number in range(4):
        scan = patient(root, number, {"liver": ORGAN})
        if number in (1, 2):
            again = make_series(root / f"MUSTERFRAU_{number}" / "later", VALUES)
            for path in again.folder.iterdir():
                read = pydicom.dcmread(path)
                read.PatientID = f"PID{number}"
                read.save_as(path)
            make_seg(root / f"MUSTERFRAU_{number}" / "later.dcm", again, {"liver": ORGAN})
    assert scan
    made = prepare(root, tmp_path / "out", test=0.5)
    rows = (tmp_path / "out" / "patients.csv").read_text().splitlines()
    of = dict(line.split(",") for line in rows[1:])
    assert sorted(of.values()) == [f"patient_{n}" for n in (1, 2, 2, 3, 3, 4)]
    train, test = ({of[case.name] for case in part} for part in (made.train, made.test))
    assert len(test) == 2
    assert train.isdisjoint(test)


def test_series_without_masks_are_left_out_with_a_word(tmp_path: Path) -> None:
    patient(tmp_path / "hospital", 1, {"liver": ORGAN})
    make_series(tmp_path / "hospital" / "scout", VALUES[:2])
    with pytest.warns(UserWarning, match="1 DICOM series have no mask and are left out"):
        assert len(prepare(tmp_path / "hospital", tmp_path / "out").train) == 1


def refused(root: Path, words: str, **how: Any) -> None:
    """Told in a sentence that names no patient; nothing is left behind."""
    before = set(root.iterdir())
    with pytest.raises(InputError, match=words) as raised:
        prepare(root / "hospital", root / "refused", **how)
    said = str(raised.value)
    assert "musterfrau" not in said.casefold()
    assert "PID" not in said
    assert not re.search(r"\d+(\.\d+){5,}", said)
    assert set(root.iterdir()) == before


def test_what_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "hospital"
    scan = patient(root, 1)
    (root / "MUSTERFRAU_1" / "seg.dcm").unlink()
    refused(tmp_path, "holds 1 DICOM series and no DICOM-SEG or RTSTRUCT; put the masks there")
    make_seg(root / "MUSTERFRAU_1" / "seg.dcm", scan, {"Erika Musterfrau": ORGAN})
    refused(tmp_path, "a structure is named like the patient; rename it")
    make_rtstruct(root / "MUSTERFRAU_1" / "seg.dcm", scan, {"liver": []})
    refused(tmp_path, "the masks hold no region")
    make_seg(root / "MUSTERFRAU_1" / "seg.dcm", scan, {"liver": ORGAN})
    other = patient(root, 2)
    for path in other.folder.iterdir():
        read = pydicom.dcmread(path)
        read.Modality = "MR"
        read.save_as(path)
    refused(tmp_path, "masks are drawn on CT and MR series; prepare each by itself")
    with pytest.raises(InputError, match="which is never changed; choose a folder outside"):
        prepare(root, root / "out")


def test_a_bad_series_is_told_by_number(tmp_path: Path) -> None:
    scan = patient(tmp_path / "hospital", 1)
    path = next(p for p in scan.folder.iterdir() if pydicom.dcmread(p).InstanceNumber == 3)
    read = pydicom.dcmread(path)
    read.ImagePositionPatient = scan.slices[3].ImagePositionPatient
    read.save_as(path)
    refused(tmp_path, r"hospital/\(no\. 1 by name\)/CT/IM.*lie at the same place")


@pytest.mark.parametrize("seed", range(20))
def test_damage_anywhere_ends_in_a_sentence(tmp_path: Path, seed: int, capfd: pytest.CaptureFixture[str]) -> None:
    random, root = np.random.default_rng(seed), tmp_path / "hospital"
    scan = make_series(root / "Musterfrau", VALUES[:3])
    make_seg(root / "Musterfrau" / "seg", scan, {"liver": ORGAN[:3]})
    make_rtstruct(root / "rt", scan, {"kidney": [scan.points(circle((16, 18), 2, scan.spacing_mm[1:]), 2)]})
    path = sorted(path for path in root.rglob("*") if path.is_file())[seed % 5]
    content = bytearray(path.read_bytes())
    for place in random.integers(132, min(3000, len(content)), 3):
        content[place] = random.integers(256)
    path.write_bytes(content[: len(content) - 40 * (seed % 3 == 0)])
    said = ""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            prepare(root, tmp_path / "out", allow_empty=True)
        except InputError as error:
            said = str(error)
    assert capfd.readouterr() == ("", "")
    assert not re.search(r"(?i)musterfrau|erika|4711|\d+(\.\d+){6,}", f"{said} {[str(each.message) for each in told]}")


def test_dataset_json_finds_the_series_again_and_tells_nothing(tmp_path: Path) -> None:
    scan = patient(tmp_path / "hospital", 1, {"liver": ORGAN})
    prepare(tmp_path / "hospital", tmp_path / "out")
    text = (tmp_path / "out" / "dataset.json").read_text()
    (key,) = json.loads(text)["dicom_series"].values()
    assert key == hashlib.sha256(str(scan.slices[0].SeriesInstanceUID).encode()).hexdigest()[:32]
    assert not re.search(r"\d+(\.\d+){5,}", text)
    open_dataset(tmp_path / "out")


def test_pictures_among_which_dicom_lies_are_still_pictures(tmp_path: Path) -> None:
    from tests.prepare.test_prepare import pairs

    root = pairs(tmp_path / "pictures")
    make_series(root / "raw", VALUES[:2])
    assert len(prepare(root, tmp_path / "out").train) == 4
