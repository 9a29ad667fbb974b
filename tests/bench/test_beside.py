"""What stands beside the scores: cost and mended labels, by hand."""

from __future__ import annotations

from itertools import count
from typing import Any

from maskmend.bench.beside import PASSES, cost_table, labels_table
from maskmend.bench.compare import Options

KEYS = count()


def a_run(method: str, seconds: float | None, **more: Any) -> dict[str, Any]:
    run = {
        "dataset": "D",
        "noise": "S_R",
        "method": method,
        "preset": "",
        "network": "unet",
        "training_seconds": seconds,
    }
    cost = {"key": str(next(KEYS)), "seconds": 1800.0, "prediction_ms": 4.0, "predicts_with": 1, "device": "cpu"}
    return run | cost | {"memory_mib": None} | more


def test_cost_is_a_mean_over_runs_and_a_ratio() -> None:
    runs = [a_run("supervised", 10.0), a_run("supervised", 12.0), a_run("gsd_net", 33.0, predicts_with=2)]
    table = cost_table([*runs, a_run("gsd_net", None)], Options())
    assert [row[1:5] for row in table.rows] == [
        ("supervised, unet", "2", "11.0 ± 1.4", "1.00"),
        ("gsd_net, unet", "1", "33.0", "3.00"),
    ]
    assert "GPU memory, MiB: largest" not in table.columns
    preset = cost_table([a_run("supervised", 10.0, preset="p.yaml"), a_run("gsd_net", 33.0)], Options())
    assert preset.rows[1][4] == "3.30", "the reference is known by its method, whatever its preset"
    on_gpu = cost_table([a_run("supervised", 10.0, device="cuda", memory_mib=900)], Options())
    assert on_gpu.rows[0][-3:] == ("cuda", "900", "0.50")


def test_hours_are_of_all_runs_and_passes_of_those_that_counted_them() -> None:
    once, again = a_run("gsd_net", 9.0, passes=[2.0, 0.5]), a_run("gsd_net", 9.0, passes=[2.0, 0.1])
    table = cost_table([once, once | {"noise": "S_E"}, again, a_run("gsd_net", None, passes=None)], Options())
    (row,) = table.rows
    assert (row[table.columns.index(PASSES)], row[-1]) == ("2.00 + 0.30", "1.50"), "a run counts once"
    assert "1.5 of all runs together" in table.legend[-1]
    assert PASSES not in cost_table([a_run("gce", 1.0)], Options()).columns, "runs of before did not count them"


def test_labels_gain_what_refining_gave() -> None:
    runs = [a_run("sp_guided", 1.0, given_dice=0.7, refined_dice=r) for r in (0.8, 0.84)] + [a_run("gce", 1.0)]
    (row,) = labels_table(runs).rows
    assert row == ("D", "S_R", "sp_guided, unet", "2", "70.00 ± 0.00", "82.00 ± 2.83", "+12.00")


def test_labels_that_nobody_knows_the_truth_of() -> None:
    table = labels_table([a_run("sp_guided", 1.0, given_dice=None, refined_dice=None)])
    assert table.rows[0][3:] == ("1", "not known", "not known", "")
    assert "not known" in table.legend[-1]
