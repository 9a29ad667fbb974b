"""An audit as a whole: it is there when it is whole, and is of the files as they are now."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from maskmend import audit
from maskmend.audit.report import HINTS
from maskmend.audit.run import SCORES
from maskmend.audit.store import COLUMNS
from maskmend.data.dataset import Dataset
from maskmend.data.formats import read_label
from maskmend.data.phantom import write_phantom
from maskmend.data.scratch import HOST
from maskmend.errors import InputError
from maskmend.functional import doubt


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return write_phantom(tmp_path / "D", 2, train=4, test=0, size=32)


def predicted(data: Dataset, folder: Path, turned: int) -> Path:
    """Predictions of every case; the first ``turned`` of them are turned round."""
    folder.mkdir()
    for number, case in enumerate(data.train):
        assert case.label is not None
        label = read_label(case.label).array
        drawn = label[::-1, ::-1] if number < turned else label
        prob = np.stack([np.where(drawn == k, 0.9, 0.1 / (data.classes - 1)) for k in range(data.classes)])
        np.savez(folder / f"{case.name}.npz", probabilities=prob.astype(np.float32))
    return folder


def test_no_label_can_be_read(data: Dataset, tmp_path: Path) -> None:
    for case in data.train:
        assert case.label is not None
        case.label.write_bytes(b"")
    made = audit(data.root, tmp_path / "audit").audit
    assert [row.worst_kind for row in made.rows] == ["file"] * 4
    assert made.about.sentences[0].startswith("Not to be used as given: 4 masks")
    assert {row.classes for row in made.rows} == {()}, "a file is of no class, the background least of all"


def test_that_test_masks_were_not_looked_at_is_said(tmp_path: Path) -> None:
    data = write_phantom(tmp_path / "D", 2, train=4, test=2, size=32)
    made = audit(data.root, tmp_path / "audit")
    assert "2 test masks were not looked at, and may be wrong as well." in made.audit.about.sentences
    shutil.rmtree(data.root / "labelsTs")
    assert "test mask" not in audit(data.root, tmp_path / "audit").table()


def left(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_where_a_judge_fails_the_audit_before_stays_whole(data: Dataset, tmp_path: Path) -> None:
    good, bad = predicted(data, tmp_path / "good", 1), predicted(data, tmp_path / "bad", 4)
    np.savez(bad / f"{data.train[-1].name}.npz", probabilities=np.full((data.classes, 32, 32), 0.3))
    with pytest.raises(InputError, match="sum to"):
        audit(data.root, tmp_path / "audit", predictions=[bad])
    assert not (tmp_path / "audit").exists(), "nothing is left of the first"
    audit(data.root, tmp_path / "audit", predictions=[good])
    before = left(tmp_path / "audit")
    with pytest.raises(InputError, match="sum to"):
        audit(data.root, tmp_path / "audit", predictions=[bad])
    assert left(tmp_path / "audit") == before


def test_of_an_earlier_judge_nothing_is_left(data: Dataset, tmp_path: Path) -> None:
    audit(data.root, tmp_path / "audit", predictions=[predicted(data, tmp_path / "P", 1)])
    assert (tmp_path / "audit" / "doubt").is_dir()
    audit(data.root, tmp_path / "audit")
    once = audit(data.root, tmp_path / "once").audit.folder
    assert left(tmp_path / "audit").keys() == left(once).keys()


def test_block_by_block_an_audit_is_the_same(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = predicted(data, tmp_path / "P", 1)
    whole = audit(data.root, tmp_path / "whole", predictions=[given]).audit
    monkeypatch.setattr(doubt, "BLOCK", 70)
    parts = audit(data.root, tmp_path / "parts", predictions=[given]).audit
    for room in ("findings", "numbers", "suggestions", "predicted"):
        assert left(parts.folder / room) == left(whole.folder / room) != {}
    for one, other in zip(parts.rows, whole.rows, strict=True):
        assert (one.case, one.hint) == (other.case, other.hint)
        assert dict(one.scores) == pytest.approx(dict(other.scores), rel=1e-4)
        np.testing.assert_array_equal(parts.doubt(one.case), whole.doubt(one.case))


def test_what_a_killed_audit_left_is_no_hindrance(data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "audit" / ".cases.4194305" / "findings").mkdir(parents=True)
    (tmp_path / "audit" / f".{HOST}-4194305-1-audit.csv").touch()
    made = audit(data.root, tmp_path / "audit").audit
    assert not list(made.folder.glob(".*"))


def test_every_column_of_the_table_is_explained() -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/find-wrong-masks.md").read_text(encoding="utf-8")
    explained = page.partition("\n| column |")[2].partition("\n\n")[0]
    named = {*COLUMNS, *SCORES, *HINTS, "spread", "checks", "edges"}
    assert not [name for name in named if f"`{name}`" not in explained]
