"""What stands beside the scores: cost and mended labels, by hand."""

from __future__ import annotations

from typing import Any

from maskmend.bench.beside import cost_table, labels_table
from maskmend.bench.compare import Options


def a_run(method: str, seconds: float | None, **more: Any) -> dict[str, Any]:
    run = {
        "dataset": "D",
        "noise": "S_R",
        "method": method,
        "preset": "",
        "network": "unet",
        "training_seconds": seconds,
    }
    return run | {"prediction_ms": 4.0, "predicts_with": 1, "device": "cpu", "memory_mib": None} | more


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
    assert on_gpu.rows[0][-2:] == ("cuda", "900")


def test_labels_gain_what_refining_gave() -> None:
    runs = [a_run("sp_guided", 1.0, given_dice=0.7, refined_dice=r) for r in (0.8, 0.84)] + [a_run("gce", 1.0)]
    (row,) = labels_table(runs).rows
    assert row == ("D", "S_R", "sp_guided, unet", "2", "70.00 ± 0.00", "82.00 ± 2.83", "+12.00")
