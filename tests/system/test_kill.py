"""A run that is killed and resumed equals the run that was never killed, to the last bit."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.kill_and_resume import trials


@pytest.mark.slow
def test_a_killed_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    found = list(trials(tmp_path, 2, "gsd_net", seed=6))
    assert [trial.differences for trial in found] == [(), ()]
    assert all(trial.steps for trial in found)
