"""How long still."""

from __future__ import annotations

import pytest

from maskmend.engine import meter
from maskmend.engine.meter import Meter


@pytest.mark.parametrize(("epoch", "done", "left_min"), [(0, 0, "9.0"), (5, 0, "4.0"), (5, 5, "8.0")])
def test_the_time_left_counts_from_where_this_process_began(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], epoch: int, done: int, left_min: str
) -> None:
    """Ten epochs of ten steps; a minute has gone by since ``done`` steps of ``epoch`` were behind."""
    monkeypatch.setattr(meter.time, "perf_counter", lambda: 0.0)
    shown = Meter()
    shown.begin_epoch(epoch, 10, 10, done)
    shown.advance(8)
    monkeypatch.setattr(meter.time, "perf_counter", lambda: 60.0)
    shown.end_epoch(epoch, {"dice": 0.5}, "the given masks")
    assert f"about {left_min} min left" in capsys.readouterr().err


def test_an_epoch_that_is_not_validated_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Meter()
    shown.begin_epoch(0, 10, 10, 0)
    shown.say({"loss": 0.25})
    shown.end_epoch(0, {}, "the given masks")
    said = capsys.readouterr().err
    assert said.startswith("epoch 1/10, loss 0.250 (")
    assert "validation" not in said
