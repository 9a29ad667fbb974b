"""A mended data set: just what was accepted or drawn is new, and all the rest is as it was."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from tests.review.made import boxes, make_audit
from typer.testing import CliRunner

from maskmend import mend
from maskmend.audit import store
from maskmend.audit.store import Audit, open_audit
from maskmend.cli import app
from maskmend.data.dataset import case_arrays, open_dataset
from maskmend.data.formats import read_label, write_json, write_label
from maskmend.data.geometry import Geometry
from maskmend.data.survey import check_dataset
from maskmend.errors import InputError
from maskmend.review.journal import Journal
from maskmend.types import Trust

SHAPE = (6, 10, 12)


def say(audit: Audit, case: str, **verdicts: str) -> Journal:
    """Verdicts by number: _1="accepted"."""
    journal = Journal(audit.folder, "Anna Ö.")
    for number, verdict in verdicts.items():
        sha = audit.about.files[case][0]
        journal.append(case, "verdict", sha, finding=f"{case}:{number[1:]}", verdict=verdict)
    return journal


def done(audit: Audit, case: str, **verdicts: str) -> None:
    say(audit, case, **verdicts).append(case, "done", audit.about.files[case][0])


def label(root: Path, case: str = "a", folder: str = "labelsTr", ending: str = ".nii.gz") -> NDArray[Any]:
    return read_label(root / folder / f"{case}{ending}").array


def number(audit: Audit, kind: str) -> str:
    return next(f"_{f.number}" for f in audit.findings("a") if f.kind == kind)


def snapshot(root: Path) -> dict[str, tuple[bytes, int]]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def judged(audit: Audit) -> Audit:
    """The same audit, of whose first case a judge says that it can be redrawn."""
    judge = store.Judge(kind="cross", held_out=True, cases=1)
    store.write_about(audit.folder, audit.about.model_copy(update={"judges": (judge,)}))
    rows = [row.model_copy(update={"hint": "redraw"}) if row.rank == 1 else row for row in audit.rows]
    store.write_rows(audit.folder, rows)
    return open_audit(audit.folder)


# --- what is taken ----------------------------------------------------------------------------------------------------


def test_only_what_was_accepted_changes(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, SHAPE)
    numbers = audit.map("findings", "a")
    accepted = number(audit, "spurious")
    assert numbers is not None
    before = snapshot(tmp_path / "Dataset001_Made")
    done(audit, "a", **{accepted: "accepted", number(audit, "missing"): "refused"})
    found = mend(audit.folder, tmp_path / "Dataset002_Mended")
    new, given = label(tmp_path / "Dataset002_Mended"), boxes(SHAPE)
    np.testing.assert_array_equal(new != given, numbers == int(accepted[1:]))
    assert (new[numbers == int(accepted[1:])] == 1).all()
    np.testing.assert_array_equal(label(tmp_path / "Dataset002_Mended", folder="labelsTr_given"), given)
    assert snapshot(tmp_path / "Dataset001_Made") == before
    assert [change.by for change in found.changes] == ["reviewed"]
    lesion = int((given == 2).sum())
    assert found.changes[0].classes["lesion"].removed == found.changes[0].classes["liver"].added == lesion
    assert found.changes[0].classes["lesion"].dice == 0


def test_the_result_is_a_data_set_that_says_who_is_clean(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, SHAPE, ("a", "b", "c"))
    source = tmp_path / "Dataset001_Made"
    (source / "patients.csv").write_text("case,patient\na,1\n")
    write_json(source / "splits_final.json", [{"train": ["a"], "val": ["b", "c"]}])
    about = json.loads((source / "dataset.json").read_text())
    write_json(source / "dataset.json", about | {"regions_class_order": [1, 2], "licence": "CC0"})
    shutil.copytree(source / "labelsTr", source / "labelsTr_truth")
    done(audit, "a", _1="accepted", _2="accepted")
    done(audit, "b")
    say(audit, "c").append("c", "stroke", audit.about.files["c"][0], axis=0, index=0, runs=((0, 0, 2, 1),))
    mend(audit.folder, tmp_path / "new")
    made = open_dataset(tmp_path / "new")
    check_dataset(made)
    trust = {case.name: case.trust for case in made.train}
    assert trust == {"a": Trust.CLEAN, "b": Trust.CLEAN, "c": Trust.NOISY}
    for name in ("patients.csv", "splits_final.json", "labelsTr_truth/a.nii.gz", "labelsTr/b.nii.gz"):
        assert (tmp_path / "new" / name).read_bytes() == (source / name).read_bytes()
    kept = json.loads((tmp_path / "new/dataset.json").read_text())
    assert (kept["regions_class_order"], kept["licence"]) == ([1, 2], "CC0")
    assert (tmp_path / "new/labelsTr_given/a.nii.gz").samefile(source / "labelsTr/a.nii.gz")
    assert not (tmp_path / "new/labelsTr/b.nii.gz").samefile(source / "labelsTr/b.nii.gz")
    assert label(tmp_path / "new", "c")[0, 0].tolist() == [1, 1, *boxes(SHAPE)[0, 0, 2:]]


def test_it_is_written_down_who_did_what(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, SHAPE, ("a", "b"))
    done(audit, "a", _1="accepted", _2="unsure")
    done(audit, "b")
    mend(audit.folder, tmp_path / "new")
    content = json.loads((tmp_path / "new/mend.json").read_text())
    a, b = content["cases"]["a"], content["cases"]["b"]
    assert a["verdicts"] == {"a:1": "accepted", "a:2": "unsure"}
    assert (a["accepted"], a["by"], a["clean"], list(a["reviewers"])) == (["a:1"], "reviewed", False, ["Anna Ö."])
    assert (b["by"], b["clean"]) == (None, True)
    moved = a["voxels_changed"]
    assert sum(each["voxels_added"] for each in a["classes"].values()) in (0, moved)
    assert all(each["ml_added"] == each["voxels_added"] / 1000 for each in a["classes"].values())
    said = json.loads((tmp_path / "new/provenance/a.json").read_text())
    assert [each["Name"] for each in said["GeneratedBy"]] == ["MaskMend", "Manual"]
    assert said["GeneratedBy"][1]["Author"] == "Anna Ö."
    assert said["Sources"] == ["labelsTr_given/a.nii.gz"]
    assert said["sha256"] == {
        "before": store.sha256(tmp_path / "Dataset001_Made/labelsTr/a.nii.gz"),
        "after": store.sha256(tmp_path / "new/labelsTr/a.nii.gz"),
    }
    assert not (tmp_path / "new/provenance/b.json").exists()
    page = (tmp_path / "new/diff.html").read_text()
    assert page.count("data:image/png") == 1
    assert "Corrected in review by Anna Ö." in page


def test_a_judge_redraws_whole_masks_that_nobody_spoke_of(tmp_path: Path) -> None:
    audit = judged(make_audit(tmp_path, SHAPE))
    found = mend(audit.folder, tmp_path / "new", accept="automatic")
    np.testing.assert_array_equal(label(tmp_path / "new"), audit.map("predicted", "a"))
    assert [change.by for change in found.changes] == ["automatic"]
    assert {case.trust for case in open_dataset(tmp_path / "new").train} == {Trust.NOISY}
    assert "Manual" not in (tmp_path / "new/provenance/a.json").read_text()
    say(audit, "a", _1="refused")
    assert mend(audit.folder, tmp_path / "newer", accept="automatic").output is None


def test_all_takes_what_is_suggested_but_for_what_a_person_said_or_drew(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, SHAPE)
    missing, spurious = number(audit, "missing"), number(audit, "spurious")
    numbers = audit.map("findings", "a")
    assert numbers is not None
    journal = say(audit, "a", **{spurious: "unsure"})
    journal.append("a", "stroke", audit.about.files["a"][0], axis=0, index=0, runs=((0, 0, 1, 1),))
    mend(audit.folder, tmp_path / "new", accept="all")
    new = label(tmp_path / "new")
    here = numbers == int(missing[1:])
    assert new[0, 0, 0] == 1
    here[0, 0, 0] = False
    assert (new[here] == 2).all()
    np.testing.assert_array_equal(new[numbers == int(spurious[1:])], 2)
    content = json.loads((tmp_path / "new/mend.json").read_text())["cases"]["a"]
    assert content["taken"] == [f"a:{missing[1:]}"]
    assert (
        "Corrected in review by Anna Ö., and 1 of the suggestions taken automatically"
        in (tmp_path / "new/diff.html").read_text()
    )


def test_every_reviewer_is_named(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, SHAPE)
    say(audit, "a", _1="accepted")
    journal = Journal(audit.folder, "Ben")
    journal.append("a", "stroke", audit.about.files["a"][0], axis=0, index=0, runs=((0, 5, 6, 1),))
    undone = journal.append("a", "stroke", audit.about.files["a"][0], axis=0, index=0, runs=((0, 7, 8, 1),))
    journal.append("a", "undo", audit.about.files["a"][0], names=undone.n)
    mend(audit.folder, tmp_path / "new")
    said = json.loads((tmp_path / "new/provenance/a.json").read_text())["GeneratedBy"]
    assert [each["Author"] for each in said[1:]] == ["Anna Ö.", "Ben"]
    assert label(tmp_path / "new")[0, 0, 5:8].tolist() == [1, 0, 0]


# --- what nobody decided ----------------------------------------------------------------------------------------------


def test_what_nobody_decided_becomes_the_ignore_label(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, SHAPE)
    numbers = audit.map("findings", "a")
    assert numbers is not None
    say(audit, "a", _1="accepted")
    found = mend(audit.folder, tmp_path / "new", doubtful="ignore")
    made = open_dataset(tmp_path / "new")
    assert made.ignore == 3
    np.testing.assert_array_equal(label(tmp_path / "new") == 3, numbers == 2)
    assert found.changes[0].ignored == int((numbers == 2).sum())
    case_arrays(made.train[0], made)


def test_an_ignore_label_that_is_there_is_kept(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, SHAPE, ignore=3)
    path = tmp_path / "Dataset001_Made/labelsTr/a.nii.gz"
    given = read_label(path)
    array = given.array.copy()
    array[-1] = 3
    write_label(path, array, given.geometry)
    files = audit.about.files | {"a": (store.sha256(path), *audit.about.files["a"][1:])}
    store.write_about(audit.folder, audit.about.model_copy(update={"files": files}))
    audit = open_audit(audit.folder)
    say(audit, "a", _1="accepted")
    mend(audit.folder, tmp_path / "new")
    assert (label(tmp_path / "new")[-1] == 3).all()
    assert (label(tmp_path / "new") == 3).sum() == array[-1].size


def test_weights_are_one_where_nothing_is_left_to_doubt(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, SHAPE)
    numbers = audit.map("findings", "a")
    assert numbers is not None
    say(audit, "a", _1="refused")
    mend(audit.folder, tmp_path / "new", doubtful="weights")
    weights = nib.load(tmp_path / "new/weightsTr/a.nii.gz")
    assert weights.get_data_dtype() == np.float32
    np.testing.assert_array_equal(weights.get_fdata().T, np.where(numbers == 2, 0, 1))
    assert (nib.load(tmp_path / "new/weightsTr/b.nii.gz").get_fdata() == 1).all()
    np.testing.assert_array_equal(label(tmp_path / "new"), boxes(SHAPE))


# --- geometry ---------------------------------------------------------------------------------------------------------


def test_geometry_is_the_given_one_bit_for_bit(tmp_path: Path) -> None:
    """A rotated NIfTI of anisotropic voxels, whose qform and sform differ in their codes, by two libraries."""
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]) @ np.diag([0.7, 0.9, 3.3])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn, (-71.3, 12.25, 1 / 3)
    first = make_audit(tmp_path / "first", SHAPE, ("a",))
    for folder, name in (("labelsTr", "a"), ("imagesTr", "a_0000")):
        path = first.dataset.root / folder / f"{name}.nii.gz"
        image = nib.Nifti1Image(np.asarray(nib.load(path).dataobj), affine)
        image.set_qform(affine, 1)
        image.set_sform(affine, 2)
        nib.save(image, path)
    path = first.dataset.root / "labelsTr/a.nii.gz"
    store.write_about(first.folder, first.about.model_copy(update={"files": {"a": (store.sha256(path), "")}}))
    say(first, "a").append("a", "stroke", store.sha256(path), axis=1, index=4, runs=((2, 3, 9, 2),))
    mend(first.folder, tmp_path / "new")
    new = tmp_path / "new/labelsTr/a.nii.gz"
    for field in ("pixdim", "srow_x", "srow_y", "srow_z", "qform_code", "sform_code", "quatern_b", "qoffset_x"):
        np.testing.assert_array_equal(nib.load(new).header[field], nib.load(path).header[field])
    a, b = sitk.ReadImage(str(path)), sitk.ReadImage(str(new))
    assert (a.GetOrigin(), a.GetSpacing(), a.GetDirection()) == (b.GetOrigin(), b.GetSpacing(), b.GetDirection())
    moved = np.argwhere(sitk.GetArrayFromImage(a) != sitk.GetArrayFromImage(b))
    assert len(moved)
    assert (moved[:, 0] == 2).all()
    assert (moved[:, 1] == 4).all()


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_pictures(tmp_path: Path, ending: str) -> None:
    """A PNG knows no spacing; of a TIFF it lies in a JSON file beside it."""
    spacing = (1.0, 1.0) if ending == ".png" else (0.5, 0.25)
    channels = 3 if ending == ".png" else 1
    audit = make_audit(tmp_path, (16, 20), ending=ending, channels=channels, place=Geometry(spacing))
    done(audit, "a", _1="accepted", _2="accepted")
    mend(audit.folder, tmp_path / "new")
    for folder in ("labelsTr", "labelsTr_given"):
        assert read_label(tmp_path / "new" / folder / f"a{ending}").geometry.spacing_mm == spacing
    np.testing.assert_array_equal(label(tmp_path / "new", ending=ending), audit.map("suggestions", "a"))
    content = json.loads((tmp_path / "new/mend.json").read_text())["cases"]["a"]
    assert content["classes"]["liver"]["ml_added"] is None


# --- refusals ---------------------------------------------------------------------------------------------------------


def refused(audit: Audit, output: Path, *said: str, **asked: Any) -> None:
    """Nothing is left behind, and the sentence says this."""
    before = sorted(output.parent.iterdir())
    with pytest.raises(InputError) as error:
        mend(audit.folder, output, **asked)
    assert all(word in str(error.value) for word in said), error.value
    assert sorted(output.parent.iterdir()) == before


def test_places_that_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = make_audit(tmp_path, SHAPE)
    done(audit, "a", _1="accepted")
    source = tmp_path / "Dataset001_Made"
    refused(audit, source, "was audited", "-o")
    refused(audit, source / "inside", "was audited")
    refused(audit, audit.folder / "inside", "lies in the audit")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").touch()
    refused(audit, tmp_path / "full", "not empty")
    refused(audit, tmp_path / "Dataset001_Other", "Dataset001_Made", "the number 1", "such as 002")
    prepared = tmp_path / "prepared"
    (prepared / "Dataset007_New").mkdir(parents=True)
    monkeypatch.setenv("nnUNet_preprocessed", str(prepared))
    refused(audit, tmp_path / "Dataset007_New", "the number 7", str(prepared))
    assert mend(audit.folder, tmp_path / "Dataset008_New").output is not None


def test_what_changed_since_the_audit(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, SHAPE)
    done(audit, "a", _1="accepted")
    path = tmp_path / "Dataset001_Made/labelsTr/b.nii.gz"
    write_label(path, 1 - boxes(SHAPE) // 2, Geometry((1.0,) * 3))
    refused(audit, tmp_path / "new", str(path), "changed since", "audit the data set again")
    shutil.move(tmp_path / "Dataset001_Made", tmp_path / "moved")
    refused(audit, tmp_path / "new", "Dataset001_Made", "is not there")


def test_what_the_format_or_the_audit_cannot_give(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, (16, 20), ending=".png", channels=3)
    refused(audit, tmp_path / "new", "2567", doubtful="ignore")
    refused(audit, tmp_path / "new", ".png", ".nii.gz", doubtful="weights")
    refused(audit, tmp_path / "new", "no network judged", "--cross 2", accept="automatic")
    refused(audit, tmp_path / "new", "--accept some", "reviewed", accept="some")
    (tmp_path / "3d").mkdir()
    volumes = make_audit(tmp_path / "3d", SHAPE)
    shutil.rmtree(volumes.folder / "doubt")
    refused(volumes, tmp_path / "new", "no weights", doubtful="weights")


def test_a_journal_that_draws_what_nobody_declared(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, SHAPE)
    sha = audit.about.files["a"][0]
    say(audit, "a").append("a", "stroke", sha, axis=0, index=0, runs=((0, 0, 2, 7),))
    refused(audit, tmp_path / "new", "review.jsonl", "event 1", "case a", "value 7")
    (audit.folder / "review.jsonl").unlink()
    say(audit, "a").append("a", "stroke", sha, axis=0, index=6, runs=((0, 0, 2, 1),))
    refused(audit, tmp_path / "new", "no slice 6")


def test_files_of_the_audit_that_do_not_fit(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, SHAPE)
    done(audit, "a", _1="accepted", _2="accepted")
    path = audit.file("suggestions", "a")
    write_label(path, np.full(SHAPE, 9, np.uint8), Geometry((1.0,) * 3))
    refused(audit, tmp_path / "new", str(path), "the value 9")
    write_label(path, np.ones((2, 2, 2), np.uint8), Geometry((1.0,) * 3))
    refused(audit, tmp_path / "new", str(path), "(2, 2, 2)")


def test_nothing_to_mend_writes_nothing_and_says_so(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, SHAPE)
    found = mend(audit.folder, tmp_path / "new")
    assert found.output is None
    assert found.table() == (
        f"Nothing was written: nothing was accepted or drawn. Review first: maskmend review {audit.folder}"
    )
    told = CliRunner().invoke(app, ["mend", str(audit.folder), "-o", str(tmp_path / "new")])
    assert (told.exit_code, told.output) == (1, found.table() + "\n"), "what comes next would look for it"
    done(audit, "a", _1="refused", _2="refused")
    found = mend(audit.folder, tmp_path / "new")
    assert "You reviewed 1 mask as right. If all are, go on with the masks as given" in found.table()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Dataset001_Made", "audit"]


def test_a_label_that_cannot_be_read_is_carried_as_it_is(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, SHAPE)
    path = tmp_path / "Dataset001_Made/labelsTr/b.nii.gz"
    path.write_bytes(b"torn")
    broken = store.Finding(**{"id": "b:1", "number": 0, "kind": "file", "class": "", "from": "check", "confidence": 1.0,
                              "text": "torn"})  # fmt: skip
    write_json(audit.folder / "findings/b.json", [broken.model_dump(by_alias=True, mode="json")])
    rows = [row.model_copy(update={"worst_kind": "file", "findings": 1}) if row.case == "b" else row
            for row in audit.rows]  # fmt: skip
    store.write_rows(audit.folder, rows)
    files = audit.about.files | {"b": (store.sha256(path), "")}
    store.write_about(audit.folder, audit.about.model_copy(update={"files": files}))
    assert mend(audit.folder, tmp_path / "new", accept="all").output
    assert (tmp_path / "new/labelsTr/b.nii.gz").read_bytes() == b"torn"


def test_mended_again_keeps_where_the_first_came_from(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, SHAPE, ("a", "b"))
    done(audit, "a", _1="accepted")
    (audit.dataset.root / "provenance").mkdir()
    (audit.dataset.root / "provenance/b.json").write_text("{}")
    mend(audit.folder, tmp_path / "new")
    assert (tmp_path / "new/provenance/b.json").read_text() == "{}"
    with (tmp_path / "new/supervision.csv").open(encoding="utf-8") as file:
        assert [row["case"] for row in csv.DictReader(file)] == ["a", "b"]
