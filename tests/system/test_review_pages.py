"""Every command of the pages on review and mend runs, in order, on a small audit; a program stands in for a person."""

from __future__ import annotations

import importlib
import shlex
import shutil
from pathlib import Path

import pytest
from tests.system.test_readme import ROOT, blocks, reader, run

from maskmend import audit, prepare
from maskmend.audit.store import open_audit
from maskmend.review.outcome import spoken_of
from maskmend.review.session import Session

__all__ = ["reader"]
verb = importlib.import_module("maskmend.verbs.review")


def a_person(session: Session, port: int, browser: bool) -> None:
    """What she does on the page: she draws a pixel in the next case, and is done with it."""
    case = next(name for name in session.order if session.state(name).done is None)
    assert session.writer is not None
    sha = session.audit.about.files[case][0]
    session.writer.append(case, "stroke", sha, axis=0, index=0, runs=((0, 0, 1, 1),))
    session.writer.append(case, "done", sha)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["review", "mend"])
def test_commands_run(name: str, reader: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "_serve", a_person)
    monkeypatch.setattr(verb, "edit_elsewhere", lambda *_: None)  # there is no other program here
    shutil.rmtree("Dataset002_Trust")  # the number is to be free
    prepare(Path("my_scans"), Path("Dataset001_Lesions"), test=0.2)
    audit(Path("Dataset001_Lesions"), Path("audit"))
    if name == "mend":
        verb.review(Path("audit"))
    page = blocks(ROOT / "docs" / "how-to" / f"{name}.md")
    lines = [
        shlex.join(shlex.split(line, comments=True)) for block in page if block.kind == "sh" for line in block.lines()
    ]
    ours = [line for line in lines if not line.startswith("ssh ")]
    assert any(line.startswith(f"maskmend {name} audit") for line in ours)
    for line in ours:
        code, output = run(line + " train.epochs=1" * line.endswith("--again"), monkeypatch)
        assert code == 0, f"{line}\n{output}"
    assert any(state.done for state in spoken_of(open_audit(Path("audit"))).values())
