"""The simulated reviewer accepts what helps, refuses what harms, draws the rest, and speaks through the journal."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from maskmend.audit.store import Audit
from maskmend.data.formats import read_label, write_label
from maskmend.data.geometry import Geometry
from maskmend.data.lock import hold
from maskmend.errors import InputError
from maskmend.review import outcome
from maskmend.review.journal import read
from maskmend.review.simulated import simulated_review
from tests.review.made import boxes, make_audit

SHAPE = (8, 12, 16)


def true_labels(audit: Audit, root: Path, shape: tuple[int, ...] = SHAPE, extra: bool = True) -> Path:
    """In truth the lesion is liver, as a finding says; nothing is in the corner, against another; a voxel more is."""
    truth = boxes(shape)
    truth[truth == 2] = 1
    if extra:
        truth[-1, -1] = 2
    folder = root / "truth"
    folder.mkdir()
    for row in audit.rows:
        write_label(folder / f"{row.case}{audit.about.file_ending}", truth, Geometry((1.0,) * len(shape)))
    return folder


@pytest.mark.parametrize(("shape", "ending"), [(SHAPE, ".nii.gz"), ((12, 16), ".png")])
def test_she_leaves_the_truth(tmp_path: Path, shape: tuple[int, ...], ending: str) -> None:
    audit = make_audit(tmp_path, shape, ending=ending)
    truth = true_labels(audit, tmp_path, shape)
    simulated_review(audit.folder, truth, ["b", "a"])
    left = outcome.reviewed(audit)
    assert set(left) == {"a", "b"}
    for case, label in left.items():
        np.testing.assert_array_equal(label.array, read_label(truth / f"{case}{ending}").array)


def test_she_accepts_what_helps_and_refuses_what_harms(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, SHAPE)
    simulated_review(audit.folder, true_labels(audit, tmp_path), ["a"], "Dr. Truth")
    state = outcome.spoken_of(audit)["a"]
    by_kind = {f.kind: state.verdicts[f.id].verdict for f in audit.findings("a")}
    assert by_kind == {"spurious": "accepted", "missing": "refused"}
    assert [stroke.index for stroke in state.strokes] == [SHAPE[0] - 1]  # only the plane that is still wrong
    assert {event.reviewer for event in read(audit.folder)} == {"Dr. Truth"}
    assert outcome.touched(audit) == {"a"}


def test_she_draws_nothing_where_accepting_was_enough(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, SHAPE)
    simulated_review(audit.folder, true_labels(audit, tmp_path, extra=False), ["a"])
    assert [event.do for event in read(audit.folder)] == ["verdict", "verdict", "done"]


def test_what_nobody_knows_stays_as_given(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, SHAPE, ignore=3)
    folder = tmp_path / "truth"
    folder.mkdir()
    write_label(folder / "a.nii.gz", np.full(SHAPE, 3, np.uint8), Geometry((1.0,) * 3))
    simulated_review(audit.folder, folder, ["a"])
    np.testing.assert_array_equal(outcome.reviewed(audit)["a"].array, boxes(SHAPE))
    assert not outcome.spoken_of(audit)["a"].accepted


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, SHAPE)
    truth = true_labels(audit, tmp_path)
    with pytest.raises(InputError, match="holds no case z"):
        simulated_review(audit.folder, truth, ["z"])
    write_label(truth / "a.nii.gz", np.full(SHAPE, 9, np.uint8), Geometry((1.0,) * 3))
    with pytest.raises(InputError, match=r"truth/a\.nii\.gz holds the value 9"):
        simulated_review(audit.folder, truth, ["a"])
    shutil.rmtree(truth)
    with pytest.raises(InputError, match=r"a\.nii\.gz is missing"):
        simulated_review(audit.folder, truth, ["a"])
    with hold(audit.folder), pytest.raises(InputError, match="in use"):
        simulated_review(audit.folder, truth, ["a"])
    assert not read(audit.folder)
