"""An audit that is written is read again as it was; what is damaged is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from maskmend.audit import store
from maskmend.data.geometry import Geometry
from maskmend.errors import InputError
from maskmend.types import IGNORE

ABOUT = store.About(
    maskmend="1", dataset="Dataset001_X", dims=2, labels={"rest": 0, "left lung": 1}, ignore=2,
    file_ending=".png", files={"a": ("0" * 64,)}, made="2026-01-01T00:00:00+00:00", seconds=1.5,
    tau={"left lung": store.Share(value=0.1, low=0.05, high=0.2)},
)  # fmt: skip
ROWS = (
    store.Row(case="a", rank=1, doubt=0.5, hint="redraw", classes=("left lung", "b"), findings=2, worst_slice=(3, 4),
              scores={"margin": 0.25}),
    store.Row(case="b", rank=2, doubt=None, hint="fine"),
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    finding = store.Finding(
        id="a:1", number=1, kind="hole", class_="left lung", source="check", voxels=3, confidence=0.5, text="A hole."
    )
    label = np.array([[0, 1, IGNORE]])
    maps = {"findings": np.array([[0, 1, 0]]), "suggestions": label, "doubt": np.array([[0, 255, 3]])}
    store.write_case(tmp_path, ABOUT, "a", [finding], maps, Geometry((1.0, 1.0)))
    store.write_rows(tmp_path, ROWS)
    store.write_about(tmp_path, ABOUT)
    return tmp_path


def test_what_is_written_is_read(folder: Path) -> None:
    audit = store.open_audit(folder)
    assert audit.about == ABOUT
    assert [*audit.about.labels] == ["rest", "left lung"], "the file sorts names, shares of classes go by value"
    assert audit.rows == ROWS
    (finding,) = audit.findings("a")
    assert (finding.kind, finding.class_, finding.source) == ("hole", "left lung", "check")
    assert audit.findings("b") == ()
    for room, expected in (("findings", [[0, 1, 0]]), ("suggestions", [[0, 1, IGNORE]])):
        found = audit.map(room, "a")
        assert found is not None
        assert found.tolist() == expected
    doubt = audit.doubt("a")
    assert doubt is not None
    assert doubt.tolist() == [[0, 255, 3]]
    assert audit.map("predicted", "a") is None


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("audit.json", "{", "audit.json"),
        ("audit.json", json.dumps({"format": 99}), "format 99"),
        ("audit.json", json.dumps({"format": 1}), "audit.json is damaged"),
        ("audit.csv", "case,rank\n", "lacks the column"),
        ("audit.csv", "case,rank,doubt,quality,hint\na,1,2x,,fine\n", "line 2"),
    ],
)
def test_what_is_damaged_is_told(folder: Path, name: str, text: str, said: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(InputError, match=said):
        store.open_audit(folder)


def test_another_folder_is_no_audit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no audit"):
        store.open_audit(tmp_path)


@pytest.mark.parametrize(
    ("value", "known_mm", "said"), [(12.4, True, "12 mm"), (6.0, False, "6 px"), (0.31, True, "0.31 mm")]
)
def test_lengths_are_told_as_exactly_as_they_matter(value: float, known_mm: bool, said: str) -> None:
    assert store.length(value, known_mm) == said
