"""A case in another program: what is saved there is what the journal says."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from maskmend.audit.store import Audit
from maskmend.errors import InputError
from maskmend.review import edit, outcome
from maskmend.review.elsewhere import edit_elsewhere, strokes
from maskmend.review.journal import Journal, read
from tests.review.made import boxes, make_audit

SHAPE = (6, 9, 12)
SAVES = """#!{python}
import sys, pathlib
sys.path[:0] = {path}
from maskmend.data.formats import read_label, write_label
label = pathlib.Path(sys.argv[-1])
assert label.name.startswith("label.")
picture = read_label(label)
array = picture.array.copy()
{act}
"""
SAVED = "write_label(label, array, picture.geometry)"


def program(root: Path, monkeypatch: pytest.MonkeyPatch, act: str, name: str = "Slicer") -> None:
    """A program of this name on the PATH, that does something to ``array`` of the label it is given."""
    path = root / "bin" / name
    path.parent.mkdir()
    path.write_text(SAVES.format(python=sys.executable, path=[p for p in sys.path if p], act=act))
    path.chmod(0o700)
    monkeypatch.setenv("PATH", str(path.parent), prepend=os.pathsep)


def edited(audit: Audit, case: str | None = None, name: str = "slicer") -> Any:
    journal = Journal(audit.folder, "r")
    try:
        edit_elsewhere(audit, journal, name, case)
    finally:
        journal.close()
    return outcome.spoken_of(audit)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_strokes_lead_from_one_label_to_another(data: st.DataObject) -> None:
    before, after = (data.draw(arrays.arrays(np.int16, (2, 4, 7), elements=st.integers(0, 2))) for _ in range(2))
    label = before.copy()
    for index, runs in strokes(before, after):
        edit.check_stroke(label.shape, {0, 1, 2}, 0, index, runs)
        edit.draw(label, 0, index, runs, None)
    assert (label == after).all()


@pytest.mark.parametrize(("shape", "ending"), [(SHAPE, ".nii.gz"), ((9, 12), ".png")])
def test_what_is_saved_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], ending: str
) -> None:
    audit = make_audit(tmp_path, shape, ending=ending)
    program(tmp_path, monkeypatch, f"array[array == 2] = 1; array[..., -1, -1] = 2; {SAVED}")
    states = edited(audit)
    expected = boxes(shape)
    expected[expected == 2] = 1
    expected[..., -1, -1] = 2
    assert (outcome.reviewed(audit)["a"].array == expected).all()
    by_kind = {f.kind: states["a"].verdicts[f.id].verdict for f in audit.findings("a")}
    assert by_kind == {"spurious": "redrawn", "missing": "refused"}, "the corner stayed as it was"


def test_what_nobody_annotated_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = make_audit(tmp_path, SHAPE, ignore=3)
    program(tmp_path, monkeypatch, f"array[0, 0, :4] = 3; {SAVED}", "itksnap")
    edited(audit, "b", "itksnap")
    assert (outcome.reviewed(audit)["b"].array[0, 0, :5] == [-1, -1, -1, -1, 0]).all()


@pytest.mark.parametrize(
    ("act", "said"),
    [
        ("", "was not saved"),
        ("label.unlink()", "was not saved"),
        (f"array[0] = 9; {SAVED}", "holds the value 9"),
        ("write_label(label, array[1:], picture.geometry)", "label.nii.gz"),
        ("label.write_bytes(b'torn')", "label.nii.gz"),
    ],
)
def test_what_cannot_be_taken_back_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str, said: str
) -> None:
    audit = make_audit(tmp_path, SHAPE)
    program(tmp_path, monkeypatch, act)
    with pytest.raises(InputError, match=said):
        edited(audit)
    assert not read(audit.folder)


def test_a_program_or_case_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = make_audit(tmp_path, SHAPE)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="napari is not on the PATH"):
        edited(audit, name="napari")
    monkeypatch.undo()
    program(tmp_path, monkeypatch, SAVED)
    with pytest.raises(InputError, match="no case z"):
        edited(audit, "z")
    for name in ("a", "b"):
        edited(audit)
        assert outcome.spoken_of(audit)[name].done
    with pytest.raises(InputError, match="every case"):
        edited(audit)
