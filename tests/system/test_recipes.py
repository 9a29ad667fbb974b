"""`maskmend prepare` of public data sets: what there is, what is asked for, what is made."""

from __future__ import annotations

from pathlib import Path

from tests.prepare.test_recipes import kvasir
from tests.system.conftest import Maskmend

from maskmend.prepare.recipes import recipes


def test_the_command_line_lists_asks_and_makes(tmp_path: Path, maskmend: Maskmend) -> None:
    listed = maskmend("prepare", "--list").output
    assert all(f"{name}: " in listed for name in recipes())
    assert "terms: free for research" in maskmend("prepare", "kvasir_seg").output
    asked = maskmend("prepare", "kvasir_seg", "-o", tmp_path / "out")
    assert (asked.exit_code, "--from ARCHIVE" in asked.stderr) == (2, True)
    kvasir(tmp_path / "archive")
    short = maskmend("prepare", "kvasir_seg", "--from", tmp_path / "archive", "-o", tmp_path / "out")
    assert (short.exit_code, "holds 4 of 1000" in short.stderr) == (2, True)
    given = ("kvasir_seg", "--from", tmp_path / "archive", "-o", tmp_path / "out")
    for word, value in (("test", "0.2"), ("threshold", "9")):
        own = maskmend("prepare", *given, f"--{word}", value)
        assert (own.exit_code, f"leave {word}={value} out" in own.stderr) == (2, True)
    folder = maskmend("prepare", tmp_path / "archive", "-o", tmp_path / "out", "--partial")
    assert (folder.exit_code, "partial is for the archive of a public data set" in folder.stderr) == (2, True)
    assert not (tmp_path / "out").exists()
    whole = maskmend("prepare", "kvasir_seg", "--from", tmp_path / "archive", "-o", tmp_path / "out", "--partial")
    assert "3 training and 1 test cases" in whole.output
