"""DICOM in and out on the command line; and nothing that is printed or written beside tells who the patients are."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

pydicom = pytest.importorskip("pydicom", reason="DICOM needs pydicom and highdicom: pip install 'maskmend[dicom]'")
hd = pytest.importorskip("highdicom", reason="DICOM needs pydicom and highdicom: pip install 'maskmend[dicom]'")

from tests.dicoms import PATIENT_ID, make_seg, make_series  # noqa: E402
from tests.system.conftest import TINY, Maskmend  # noqa: E402

from maskmend.data.formats import read_label, write_label  # noqa: E402
from maskmend.runs.folder import load_run  # noqa: E402

SHAPE = (8, 24, 24)
SECRETS = re.compile(rb"musterfrau|erika|pid4711|acc4711|19700101|1\.2\.826\.0\.1|1\.2\.840\.10008", re.IGNORECASE)
"""Names and numbers of the patients of ``tests.dicoms``, and the beginnings of its UIDs."""


def organ(number: int) -> NDArray[np.bool_]:
    mask = np.zeros(SHAPE, bool)
    mask[2:6, 6 + number : 14 + number, 7:17] = True
    return mask


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    """Four patients, each in a folder of her name, with a bright organ that is drawn."""
    root, random = tmp_path / "hospital", np.random.default_rng(0)
    for number in range(4):
        folder, values = root / f"Musterfrau_Erika_{number}", 1000 + 400 * organ(number)
        scan = make_series(folder / "CT", values + random.integers(0, 50, SHAPE), modality="MR")
        make_seg(folder / "seg.dcm", scan, {"liver": organ(number)})
    return root


def fingerprint(root: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*") if path.is_file()}


def tells_nothing(place: Path, *printed: str) -> None:
    """No file's name or content but DICOM's own, and nothing printed, names a patient."""
    for path in place.rglob("*"):
        assert not SECRETS.search(str(path.relative_to(place)).encode()), path
        if path.is_file() and path.suffix != ".dcm":
            content = path.read_bytes()
            assert not SECRETS.search(gzip.decompress(content) if path.suffix == ".gz" else content), path
    for text in printed:
        assert not SECRETS.search(text.encode()), text


def same(seg: Path, label: NDArray[Any], there: NDArray[Any]) -> None:
    """highdicom finds in a DICOM-SEG what a label map holds; ``there``: (4, 4), index (x, y, z) -> mm, LPS."""
    volume = hd.seg.segread(seg).get_volume(combine_segments=True)
    for value in range(1, int(label.max()) + 1):
        found = np.argwhere(volume.array == value) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
        wanted = np.argwhere(label == value)[:, ::-1] @ there[:3, :3].T + there[:3, 3]
        assert len(found) == len(wanted) > 0
        np.testing.assert_allclose(
            found[np.lexsort(found.round(2).T)], wanted[np.lexsort(wanted.round(2).T)], atol=1e-3
        )


@pytest.fixture
def run(maskmend: Maskmend, hospital: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that finds what is bright, for it is the organ; trained on what was prepared of the hospital."""
    said = [maskmend("prepare", hospital, "-o", tmp_path / "made")]
    quick = ("--fast-dev-run", "data.patch=[8,16,16]", "data.spacing_mm=[3,0.8,0.7]")
    said.append(maskmend("train", tmp_path / "made", "-o", tmp_path / "run", "--method", "supervised", *TINY, *quick))
    for each in said:
        assert each.exit_code == 0, each.output
        tells_nothing(tmp_path / "made", each.output)
    tells_nothing(tmp_path / "run")

    def bright(*asked: Any) -> Any:
        method = SimpleNamespace(predict=lambda image: torch.cat([image < 1, image >= 1], 1).float())
        return method, *load_run(*asked)[1:]

    monkeypatch.setattr("maskmend.verbs.predict.load_run", bright)
    return tmp_path / "run"


def test_predict_writes_dicom_seg(maskmend: Maskmend, hospital: Path, run: Path, tmp_path: Path) -> None:
    before, out = fingerprint(hospital), tmp_path / "out"
    done = maskmend("predict", run, hospital, "-o", out, "--dicom-seg")
    assert done.exit_code == 0, done.output
    assert fingerprint(hospital) == before
    names = [f"case_{number:03d}" for number in range(1, 5)]
    made = sorted([n + end for n in names for end in (".nii.gz", ".dcm")] + ["predict.json"])
    assert sorted(path.name for path in out.iterdir()) == made
    for number, name in enumerate(names):
        label = read_label(out / f"{name}.nii.gz")
        np.testing.assert_array_equal(label.array, organ(number))
        same(out / f"{name}.dcm", label.array, label.geometry.affine)
        seg = pydicom.dcmread(out / f"{name}.dcm")
        assert [segment.SegmentLabel for segment in seg.SegmentSequence] == ["liver"]
        assert seg.PatientID == PATIENT_ID
        image = next((hospital / f"Musterfrau_Erika_{number}" / "CT").iterdir())
        assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == pydicom.dcmread(image).SeriesInstanceUID
    (out / "case_002.dcm").unlink()
    again = maskmend("predict", run, hospital, "-o", out, "--dicom-seg", "--part", "2/4")
    assert again.exit_code == 0, again.output
    assert sorted(path.name for path in out.iterdir()) == made
    tells_nothing(out, done.output, again.output)


def test_a_bad_series_does_not_stop_the_others(maskmend: Maskmend, hospital: Path, run: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    for slice_ in sorted((hospital / "Musterfrau_Erika_1" / "CT").iterdir()):
        if pydicom.dcmread(slice_).InstanceNumber == 4:
            slice_.unlink()
    done = maskmend("predict", run, hospital, "-o", tmp_path / "out", "--dicom-seg")
    assert done.exit_code == 1
    assert "failed: case_002: " in done.output
    assert "put the missing slices back" in done.output
    assert sorted(path.name for path in (tmp_path / "out").glob("*.dcm")) == [f"case_00{n}.dcm" for n in (1, 3, 4)]
    tells_nothing(tmp_path / "out", done.output)
    for words, output in (("which is never changed", hospital / "out"), ("belongs to a data set", made / "labelsTr")):
        refused = maskmend("predict", run, hospital, "-o", output)
        assert refused.exit_code == 2
        assert words in refused.output
    refused = maskmend("predict", run, made / "imagesTr", "-o", tmp_path / "out", "--dicom-seg")
    assert refused.exit_code == 2
    assert "is no folder of DICOM series, which --dicom-seg refers to" in refused.output


def test_a_series_that_no_dicom_seg_can_refer_to_keeps_its_mask(
    maskmend: Maskmend, hospital: Path, run: Path, tmp_path: Path
) -> None:
    for slice_ in (hospital / "Musterfrau_Erika_2" / "CT").iterdir():
        read = pydicom.dcmread(slice_)
        del read.StudyInstanceUID
        read.save_as(slice_)
    done = maskmend("predict", run, hospital, "-o", tmp_path / "out", "--dicom-seg")
    assert done.exit_code == 1
    assert "failed: case_003: " in done.output
    assert "no DICOM-SEG can refer to this series" in done.output
    assert len([*(tmp_path / "out").glob("*.nii.gz")]) == 4
    assert len([*(tmp_path / "out").glob("*.dcm")]) == 3
    tells_nothing(tmp_path / "out", done.output)


def test_mended_masks_as_dicom_seg(maskmend: Maskmend, hospital: Path, tmp_path: Path) -> None:
    from tests.system.test_mend import accept_all

    made, audit, judge = tmp_path / "made", tmp_path / "audit", tmp_path / "judge"
    said = [maskmend("prepare", hospital, "-o", made)]
    before = fingerprint(hospital) | fingerprint(made)
    for path in (made / "labelsTr").iterdir():
        label = read_label(path)
        label.array[2:6, 10:16, 3:7] = 1
        write_label(judge / path.name, label.array, label.geometry)
    said.append(maskmend("audit", made, "-o", audit, "--predictions", judge))
    accept_all(audit, 2)
    mended = tmp_path / "mended"
    said.append(maskmend("mend", audit, "-o", mended, "--dicom-seg", hospital))
    for each in said:
        assert each.exit_code == 0, each.output
    changed = [case for case, each in json.loads((mended / "mend.json").read_text())["cases"].items() if each["by"]]
    assert changed
    assert sorted(path.stem for path in (mended / "labelsTr_dicom").iterdir()) == sorted(changed)
    for case in changed:
        label = read_label(mended / "labelsTr" / f"{case}.nii.gz")
        same(mended / "labelsTr_dicom" / f"{case}.dcm", label.array, label.geometry.affine)
        seg = pydicom.dcmread(mended / "labelsTr_dicom" / f"{case}.dcm")
        assert seg.SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert fingerprint(hospital) | fingerprint(made) == before
    for folder in (audit, mended):
        tells_nothing(folder, *(each.output for each in said))
    shutil.rmtree(hospital / "Musterfrau_Erika_3")
    named = hospital.rename(tmp_path / "of Erika Musterfrau")
    missing = maskmend("mend", audit, "-o", tmp_path / "again", "--dicom-seg", named)
    assert missing.exit_code == 2
    assert "/… lacks the series of case_004 (1 of 4)" in missing.output
    assert not (tmp_path / "again").exists()


def test_without_the_libraries_it_says_what_to_install(
    maskmend: Maskmend, hospital: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pydicom", None)
    said = maskmend("prepare", hospital, "-o", tmp_path / "made")
    assert said.exit_code == 2
    assert "pip install 'maskmend[dicom]'" in said.output
