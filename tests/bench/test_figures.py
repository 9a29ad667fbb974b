"""Figures: files that can be opened, with what they should show."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskmend.bench import figures
from maskmend.bench.scores import Score
from maskmend.bench.statistics import Interval

ROW = Score("k", "D", "S_R", "supervised", "", "unet", 0, "epoch", 0, "", "a", "Dice", 0.5)
CURVES = [
    replace(ROW, key=f"{method}{seed}", method=method, seed=seed, epoch=epoch, value=0.5 + 0.04 * epoch + 0.01 * seed)
    for method in ("supervised", "gsd_net")
    for seed in range(3)
    for epoch in range(8)
]


def words(svg: Path) -> str:
    return " ".join("".join(node.itertext()) for node in ET.parse(svg).iter() if node.tag.endswith("}text"))


def opened(files: tuple[Path, Path]) -> str:
    """The words in the SVG; the PNG must show more than one colour."""
    png, svg = files
    with Image.open(png) as image:
        assert len(image.convert("RGB").getcolors(1 << 24)) > 5
    return words(svg)


def test_curves(tmp_path: Path) -> None:
    said = opened(figures.curves(CURVES, tmp_path / "curves"))
    assert "supervised, unet" in said
    assert "gsd_net, unet" in said
    assert "Dice (%)" in said


def test_curves_of_one_run_with_holes(tmp_path: Path) -> None:
    one = [replace(s, value=float("nan")) if s.epoch == 3 else s for s in CURVES if s.key == "gsd_net0"]
    assert "gsd_net" in opened(figures.curves([*one, replace(ROW, method="late", checkpoint="last")], tmp_path / "c"))


def test_forest(tmp_path: Path) -> None:
    intervals = {"gsd_net": Interval(0.05, 0.02, 0.08), "jocor": Interval(-0.01, -0.03, 0.02)}
    said = opened(figures.forest(intervals, "supervised", tmp_path / "a.b"))
    assert {path.name for path in tmp_path.iterdir()} == {"a.b.png", "a.b.svg"}
    assert "points of Dice more than supervised" in said
    assert "gsd_net" in said
    assert "jocor" in said


def test_critical_difference(tmp_path: Path) -> None:
    names = ["gsd_net", "supervised", "co_teaching", "jocor", "gce"]
    said = opened(figures.critical_difference(names, [1.2, 4.5, 2.2, 2.6, 4.5], 10, tmp_path / "cd"))
    assert all(name in said for name in names)
    assert "critical difference 1.93 (10 settings)" in said  # 2.728 sqrt(5 * 6 / 60)


@pytest.mark.parametrize("seed", range(20))
def test_bars_join_what_cannot_be_told_apart(seed: int) -> None:
    """Two ranks lie under one bar if and only if they are near enough; no bar lies within another."""
    rng = np.random.default_rng(seed)
    ranks, apart = np.sort(rng.uniform(1, 7, 7)), rng.uniform(0.2, 4)
    bars = figures.cliques(ranks, apart)
    for i, j in combinations(range(7), 2):
        assert (ranks[j] - ranks[i] <= apart) == any(first <= i and j <= last for first, last in bars)
    assert not any(a != b and b[0] <= a[0] and a[1] <= b[1] for a in bars for b in bars)


def test_a_figure_is_drawn_the_same_again(tmp_path: Path) -> None:
    first = [path.read_bytes() for path in figures.curves(CURVES, tmp_path / "curves")]
    assert first == [path.read_bytes() for path in figures.curves(CURVES, tmp_path / "curves")]


def test_colours_are_okabe_and_itos_and_differ_in_grey() -> None:
    greys = [0.299 * r + 0.587 * g + 0.114 * b for r, g, b in (bytes.fromhex(c[1:]) for c in figures.OKABE_ITO)]
    assert len(set(figures.OKABE_ITO)) == len(figures.OKABE_ITO)
    assert max(greys) < 190  # dark enough on white


def test_nothing_heavy_is_imported_to_be_imported() -> None:
    code = "import sys, maskmend.bench.tables; print([m for m in ('torch', 'matplotlib', 'scipy') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"
