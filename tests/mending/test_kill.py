"""A mend that is killed leaves nothing, or all."""

from __future__ import annotations

from pathlib import Path

from benchmarks.kill_mend import trials


def test_a_killed_mend_leaves_nothing_half(tmp_path: Path) -> None:
    for trial in trials(tmp_path, 2, cases=6, seed=1):
        assert trial.left in ("nothing", "the whole")
        assert trial.again
