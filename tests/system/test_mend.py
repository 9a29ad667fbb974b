"""From wrong masks to mended ones and a new training, on the command line; and a disk that is full on the way."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.review.made import make_audit
from tests.system.conftest import Maskmend

from maskmend.audit.store import open_audit
from maskmend.data.formats import read_label
from maskmend.data.phantom import write_phantom
from maskmend.metrics import dice, overlap
from maskmend.review.journal import Journal


def accept_all(folder: Path, cases: int) -> list[str]:
    """A person accepts every finding of the most doubtful cases."""
    audit, journal = open_audit(folder), Journal(folder, "Anna B.")
    chosen = [row.case for row in audit.rows[:cases]]
    for case in chosen:
        for finding in audit.findings(case):
            journal.append(case, "verdict", audit.about.files[case][0], finding=finding.id, verdict="accepted")
        journal.append(case, "done", audit.about.files[case][0])
    return chosen


def left(root: Path, case: str) -> float:
    """Dice of the label with the truth."""
    label, truth = (read_label(root / folder / f"{case}.png").array for folder in ("labelsTr", "labelsTr_truth"))
    return dice(overlap(label, truth, [1])[1])


@pytest.mark.slow
def test_audit_review_mend_train(maskmend: Maskmend, tmp_path: Path) -> None:
    true, given, audit = (tmp_path / name for name in ("Dataset001_True", "Dataset002_Given", "audit"))
    write_phantom(true, train=6, test=1)
    assert not maskmend("simulate", true, "-o", given, "--noise", "dilate_erode", "--fraction", "0.5").exit_code
    assert not maskmend("audit", given, "-o", audit, "--predictions", true / "labelsTr").exit_code
    nothing = maskmend("mend", audit, "-o", tmp_path / "Dataset003_Mended")
    assert nothing.exit_code == 1, "train, which comes next, would look for it"
    assert "Nothing was written" in nothing.output
    assert not (tmp_path / "Dataset003_Mended").exists()
    reviewed = accept_all(audit, 3)
    mended = tmp_path / "Dataset003_Mended"
    said = maskmend("mend", audit, "-o", mended)
    assert said.exit_code == 0, said.output
    changed = json.loads((mended / "mend.json").read_text())["cases"]
    assert set(changed) == set(reviewed)
    count = sum(bool(case["by"]) for case in changed.values())
    assert f"{count} of 6 masks changed. You are done with 3 and sure of them: these are clean." in said.output
    assert "nnUNetv2_plan_and_preprocess -d 3" in said.output
    for case in reviewed:
        assert left(mended, case) == 1
        assert left(given, case) <= 1
    assert any(left(given, case) < 0.9 for case in reviewed)
    run = maskmend("train", mended, "-o", tmp_path / "run", "--method", "supervised", "--fast-dev-run")
    assert run.exit_code == 0, run.output


@pytest.mark.parametrize("name", ["a.nii.gz", "a.json", "diff.html", "supervision.csv", "mend.json"])
def test_a_full_disk(maskmend: Maskmend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    audit = make_audit(tmp_path, (6, 10, 12))
    accept_all(audit.folder, 1)
    replace: Callable[..., Any] = os.replace

    def full(source: Any, target: Any, **_: Any) -> None:
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source), None, str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    refused = maskmend("mend", audit.folder, "-o", tmp_path / "new")
    assert refused.exit_code == 2
    assert "cannot be written (No space left on device)" in " ".join(refused.output.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Dataset001_Made", "audit"]
