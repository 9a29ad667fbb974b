"""Tables of a made-up benchmark: what is compared with what, what is marked, and every format."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from maskmend.bench import marks, render, reported, tables
from maskmend.bench.compare import Options, case_table, compare, curves, ranking
from maskmend.bench.measures import MEASURES
from maskmend.bench.render import Table
from maskmend.bench.scores import Score
from maskmend.bench.statistics import holm
from maskmend.errors import InputError

CASES, SEEDS, EPOCHS = 12, (0, 1), 6
HEIGHT = {"supervised": 0.60, "co_teaching": 0.65, "gsd_net": 0.75, "truth": 0.80}
OPTIONS = Options(last=3, draws=500)


def run(method: str, noise: str, seed: int, dataset: str = "Kvasir") -> list[Score]:
    """One run: two classes, the second 0.1 lower; cases differ, and are the same for all."""
    key = f"{dataset}-{method}-{noise}-{seed}"
    about = Score(key, dataset, noise, method, "", "unet", seed, "last", EPOCHS - 1, "", "", "Dice", 0.0)
    rng = np.random.default_rng([seed, len(method), len(noise)])
    cases = np.linspace(-0.1, 0.1, CASES) + HEIGHT[method] + rng.normal(0, 0.02, CASES)
    return [
        replace(
            about,
            checkpoint=which,
            case=f"c{n:02}",
            class_name=name,
            metric="Dice",
            value=float(cases[n] + more - less),
        )
        for which, more in (("last", 0.0), ("best", 0.02))
        for n in range(CASES)
        for name, less in (("a", 0.0), ("b", 0.1))
    ] + [
        replace(
            about,
            checkpoint="epoch",
            epoch=e,
            class_name=name,
            metric="Dice",
            value=HEIGHT[method] * (e + 1) / EPOCHS - less,
        )
        for e in range(EPOCHS)
        for name, less in (("a", 0.0), ("b", 0.1))
    ]


def about(method: str, noise: str, seed: int, dataset: str = "Kvasir") -> dict[str, object]:
    return {
        "key": f"{dataset}-{method}-{noise}-{seed}", "dataset": dataset, "noise": noise, "method": method,
        "preset": "", "network": "unet", "seed": seed, "last": 3,
        "method_name": "supervised" if method == "truth" else method,
        "labels": "truth" if method == "truth" else "given",
        "oracle": ["method.tau=0.131"] if method in ("co_teaching", "gsd_net") else [],
    }  # fmt: skip


RUNS = [(m, n, s) for n in ("S_R", "S_E") for m in ("supervised", "co_teaching", "gsd_net") for s in SEEDS]
RUNS += [("truth", "none", s) for s in SEEDS]
SCORES = [score for each in RUNS for score in run(*each)]
ABOUT = [about(*each) for each in RUNS]


def values(method: str, noise: str = "S_R") -> np.ndarray:
    """(seeds, cases) by hand: the mean of the two classes."""
    found = [s.value for s in SCORES if (s.method, s.noise, s.checkpoint) == (method, noise, "last")]
    return np.array(found).reshape(len(SEEDS), CASES, 2).mean(2)


@pytest.fixture(scope="module")
def results():
    return {(r.row.method, r.noise): r for r in compare(SCORES, OPTIONS)}


def test_numbers_are_those_by_hand(results) -> None:
    ours, theirs, truth = values("gsd_net"), values("supervised"), values("truth", "none")
    r = results["gsd_net", "S_R"]
    assert (r.cases, r.last.n) == (CASES, len(SEEDS))
    assert r.last.mean == pytest.approx(ours.mean())
    assert r.last.sd == pytest.approx(ours.mean(1).std(ddof=1))
    assert r.best.mean == pytest.approx(ours.mean() + 0.02)
    assert r.difference.estimate == pytest.approx((ours - theirs).mean())
    assert r.difference.low < r.difference.estimate < r.difference.high
    assert r.p == pytest.approx(stats.wilcoxon((ours - theirs).mean(0)).pvalue)
    assert r.truth == pytest.approx(truth.mean())
    assert r.gap == pytest.approx((ours.mean() - theirs.mean()) / (truth.mean() - theirs.mean()))
    assert r.classes["a"].mean - r.classes["b"].mean == pytest.approx(0.1)


def test_the_papers_plus_minus_is_within_a_run(results) -> None:
    late = [0.75 * e / EPOCHS - 0.05 for e in (4, 5, 6)]
    found = results["gsd_net", "S_R"].late
    assert (found.mean, found.sd, found.n) == (pytest.approx(np.mean(late)), pytest.approx(np.std(late)), 3)


def test_holm_is_within_a_setting(results) -> None:
    p = [results[m, "S_R"].p for m in ("co_teaching", "gsd_net")]
    corrected = [results[m, "S_R"].p_holm for m in ("co_teaching", "gsd_net")]
    assert corrected == pytest.approx(holm(p))
    assert math.isnan(results["supervised", "S_R"].p_holm)


def test_ranks_leave_out_the_truth_and_where_noise_is_none(results) -> None:
    ranks = ranking(list(results.values()), OPTIONS)
    assert dict(zip(ranks.names, ranks.mean, strict=True)) == {"supervised": 3, "co_teaching": 2, "gsd_net": 1}
    assert ranks.settings == 2


def test_of_distances_less_is_better() -> None:
    """HD95 that is 20 (1 - Dice): the same ranks, and the same share of the gap."""
    far = [replace(s, metric="HD95", value=20 * (1 - s.value)) for s in SCORES if s.checkpoint != "epoch"]
    own = replace(OPTIONS, measure=MEASURES["HD95"])
    ours = {(r.row.method, r.noise): r for r in compare([*SCORES, *far], own)}
    dice = {(r.row.method, r.noise): r for r in compare([*SCORES, *far], OPTIONS)}
    for place, r in ours.items():
        assert r.last.mean == pytest.approx(20 * (1 - dice[place].last.mean))
        assert r.gap == pytest.approx(dice[place].gap, nan_ok=True)
    assert ours["gsd_net", "S_R"].difference.estimate == pytest.approx(-20 * dice["gsd_net", "S_R"].difference.estimate)
    ranks = ranking(list(ours.values()), own)
    assert dict(zip(ranks.names, ranks.mean, strict=True)) == {"supervised": 3, "co_teaching": 2, "gsd_net": 1}
    assert math.isnan(ours["gsd_net", "S_R"].late.mean), "only Dice is measured at every epoch"


def test_every_metric_has_tables_of_its_own(tmp_path: Path) -> None:
    far = [replace(s, metric="HD95", value=20 * (1 - s.value)) for s in SCORES if s.checkpoint != "epoch"]
    tables.write([*SCORES, *far], ABOUT, tmp_path, OPTIONS)
    dice, hd95 = ((tmp_path / f"tables/Kvasir__S_R{more}.md").read_text(encoding="utf-8") for more in ("", "__HD95"))
    assert f"{100 * values('gsd_net').mean():.2f} ±" in dice
    assert f"{20 * (1 - values('gsd_net').mean()):.2f} ±" in hd95
    assert "lower is better" in hd95
    assert "reported" in dice
    assert "reported" not in hd95, "GSD-Net reports no distance"
    with (tmp_path / "tables/results.csv").open(encoding="utf-8") as file:
        assert {row["metric"] for row in csv.DictReader(file)} == {"Dice", "HD95"}


def test_pairs_are_by_case_not_by_order() -> None:
    turned = [s for s in SCORES if s.method != "gsd_net"] + [s for s in reversed(SCORES) if s.method == "gsd_net"]
    plain, other = ({(r.row.method, r.noise): r for r in compare(x, OPTIONS)} for x in (SCORES, turned))
    one, two = plain["gsd_net", "S_R"].difference, other["gsd_net", "S_R"].difference
    assert (one.estimate, one.low) == (pytest.approx(two.estimate), pytest.approx(two.low))


def test_only_what_both_have_is_compared() -> None:
    less = [s for s in SCORES if not (s.method == "supervised" and (s.seed == 1 or s.case == "c00"))]
    (r,) = [r for r in compare(less, OPTIONS) if (r.row.method, r.noise) == ("gsd_net", "S_R")]
    expected = (values("gsd_net") - values("supervised"))[0, 1:]
    assert r.difference.estimate == pytest.approx(expected.mean())


def test_another_networks_reference_is_no_reference() -> None:
    two = SCORES + [replace(s, network="vnet", key=f"v{s.key}") for s in SCORES if s.method != "supervised"]
    found = {(r.row.method, r.row.network): r for r in compare(two, OPTIONS) if r.noise == "S_R"}
    assert found["gsd_net", "vnet"].difference == found["gsd_net", "unet"].difference  # there is but one
    three = two + [replace(s, network="nnunet", key=f"n{s.key}") for s in SCORES if s.method == "supervised"]
    found = {(r.row.method, r.row.network): r for r in compare(three, OPTIONS) if r.noise == "S_R"}
    assert math.isnan(found["gsd_net", "vnet"].difference.estimate)


def test_folds_come_together_and_doubles_are_refused() -> None:
    one = [s for s in run("supervised", "S_R", 0) if s.checkpoint == "last"]
    folds = [replace(s, key=f"fold{int(s.case > 'c05')}") for s in one]
    assert np.array_equal(case_table(folds).values, case_table(one).values)
    with pytest.raises(
        InputError, match="the runs Kvasir-supervised-S_R-0 and again both score class 'a' of case 'c00'"
    ):
        case_table([*one, replace(one[0], key="again")])


def test_empty_cases_are_left_out() -> None:
    one = [s for s in run("supervised", "S_R", 0) if s.checkpoint == "last"]
    holes = [replace(s, value=math.nan) if s.case == "c00" or s.class_name == "b" else s for s in one]
    found = case_table(holes).values
    assert math.isnan(found[0, 0])
    assert found[0, 1] == next(s.value for s in one if s.case == "c01" and s.class_name == "a")


def test_curves_are_by_run() -> None:
    epochs, found = curves(run("truth", "none", 0) + run("truth", "none", 1)[:-2])
    assert epochs.tolist() == list(range(EPOCHS))
    assert found.shape == (2, EPOCHS)
    assert math.isnan(found[1, -1])


def test_a_single_run_says_what_it_can() -> None:
    (r,) = compare([s for s in run("gsd_net", "S_R", 0) if s.checkpoint == "last"], OPTIONS)
    assert (r.last.n, r.best.n, r.late.n) == (1, 0, 0)
    assert all(map(math.isnan, (r.last.sd, r.best.mean, r.late.mean, r.p, r.gap, r.difference.estimate)))
    table = tables.setting_table([r], OPTIONS, marks.Runs())
    assert not any(column.startswith(("B model", "p (", "gap")) for column in table.columns)
    assert compare([], OPTIONS) == []


# --- marks ------------------------------------------------------------------------------------------------------------


def test_oracles_are_marked(tmp_path: Path, results) -> None:
    folder = tmp_path / "runs" / "Kvasir-gsd_net-S_R-0"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("method:\n  inference: mean\n", encoding="utf-8")
    (folder / "done.json").write_text('{"failed": "ran out of memory"}', encoding="utf-8")
    extra = {**about("supervised", "S_R", 0), "labels": "given_and_clean", "oracle": ["size of lesions"]}
    runs = marks.read_runs([extra, *ABOUT[1:]], tmp_path)
    found = {m: runs.marks([results[m, "S_R"]]) for m in ("supervised", "co_teaching", "gsd_net")}
    assert found == {"supervised": ["size of lesions", "C"], "co_teaching": ["τ"], "gsd_net": ["τ", "N"]}
    assert runs.marks([results["truth", "none"]]) == ["T"]
    assert list(runs.failed.values()) == ["ran out of memory"]
    table = tables.setting_table([results[m, "S_R"] for m in found], OPTIONS, runs)
    assert [row[table.columns.index("oracle")] for row in table.rows] == ["size of lesions C", "τ", "τ N"]
    assert "oracle τ: was told the true noise rate" in table.legend
    (folder / "done.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"done\.json cannot be read as JSON .*; remove its folder and run it again"):
        marks.read_runs(ABOUT, tmp_path)


# --- reported ---------------------------------------------------------------------------------------------------------


def test_reported_numbers_stand_in_their_own_columns(results) -> None:
    here = [results[m, "S_R"] for m in ("supervised", "co_teaching", "gsd_net")]
    table = tables.setting_table(here, OPTIONS, marks.Runs())
    assert table.columns[-1] == "reported by GSD-Net"
    column = [row[-1] for row in table.rows]
    printed = reported.find(paper="GSD-Net", dataset="Kvasir", noise_setting="S_R", table="4")
    assert column == [next(r.text for r in printed if r.method_key == x.row.method) for x in here]
    ours = {cell for row in table.rows for cell in row[:-1]}
    assert not ours & set(column)
    assert any(line.startswith("GSD-Net reports: ± is the sd over the last 10 epochs") for line in table.legend)


def test_reported_numbers_can_be_named(results) -> None:
    noise = "dilate/erode/affine; alpha=0.3 of images, beta=0.5 relative size"
    cells = {("Kvasir", "S_R"): [{"paper": "SP-Guided", "dataset": "JSRT", "noise_setting": noise}]}
    table = tables.setting_table([results["supervised", "S_R"]], OPTIONS, marks.Runs(reported=cells))
    assert table.columns[-1] == "reported by SP-Guided"
    unknown = tables.setting_table([replace(results["supervised", "S_R"], dataset="Mine")], OPTIONS, marks.Runs())
    assert not any(column.startswith("reported") for column in unknown.columns)


def test_a_row_may_name_the_fields_of_its_own_numbers(results) -> None:
    here = [results[m, "S_R"] for m in ("supervised", "gsd_net")]
    own = {"gsd_net": {"table": "7", "method": "setting 2: L_JoCoR+GDA"}, "supervised": "supervised"}
    cells = {("Kvasir", "S_R"): [{"paper": "GSD-Net", "table": "4", "dataset": "Kvasir", "noise_setting": "S_R"}]}
    table = tables.setting_table(here, OPTIONS, marks.Runs(methods=own, reported=cells))
    assert [row[-1] for row in table.rows] == ["66.86 ± 4.46", "76.76 ± 0.64"]  # Tables 4 and 7
    backbones = {("Kvasir", "S_R"): [{**cells["Kvasir", "S_R"][0], "table": "8"}]}
    table = tables.setting_table(here[:1], OPTIONS, marks.Runs(reported=backbones))
    assert "60.26 ± 3.16 (backbone=UNet++)" in table.rows[0][-1]


# --- formats ----------------------------------------------------------------------------------------------------------

TABLE = Table("50 % of A_b", ("a|b", "x"), (("<1 & 2", "3 ± 4"), ("", "τ_{5}")), ("α < β",))


def test_markdown() -> None:
    lines = render.markdown(TABLE).splitlines()
    assert lines[2] == "| a\\|b   | x     |"
    assert len({len(line) for line in lines[2:6]}) == 1
    assert lines[-1] == "- α < β"


def test_csv() -> None:
    assert list(csv.reader(render.as_csv(TABLE).splitlines())) == [list(TABLE.columns), *map(list, TABLE.rows)]


def test_latex_is_plain() -> None:
    text = render.latex(TABLE)
    assert r"$<$1 \& 2 & 3 $\pm$ 4 \\" in text
    assert r" & $\tau$\_\{5\} \\" in text
    assert r"\caption{50 \% of A\_b. $\alpha$ $<$ $\beta$.}" in text
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 1
    assert text.isascii()


def test_a_row_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="t: a row has not 2 cells"):
        Table("t", ("a", "b"), (("1",),))


class Balanced(HTMLParser):
    """Whether every tag is closed, and what a page wants from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wanted: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        self.wanted += [v for k, v in attrs if k in ("src", "href", "xlink:href") and v and not v.startswith("#")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_everything_is_written(tmp_path: Path) -> None:
    written = tables.write(SCORES, ABOUT, tmp_path, OPTIONS)
    assert all(path.is_file() and path.stat().st_size for path in written)
    names = {path.relative_to(tmp_path).as_posix() for path in written}
    for name in ("summary", "Kvasir__S_R", "Kvasir__S_E", "Kvasir__none"):
        assert {f"tables/{name}.{ending}" for ending in ("md", "csv", "tex")} <= names
    assert {"report.html", "tables/results.csv", "figures/ranks.svg", "figures/curves_Kvasir__S_R.png"} <= names
    page = Balanced()
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page.feed(text)
    assert (page.open, page.wanted) == ([], [])
    assert (
        text.count("<svg") == text.count("</figcaption>") == 6
    )  # ranks; curves of three; differences under two noises
    assert 'class="theirs">reported by GSD-Net' in text


def test_the_numbers_file_is_exact(tmp_path: Path, results) -> None:
    tables.write(SCORES, ABOUT, tmp_path, OPTIONS)
    with (tmp_path / "tables" / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = {(row["method"], row["noise"]): row for row in csv.DictReader(file)}
    assert rows.keys() == results.keys()
    for place, row in rows.items():
        assert float(row["last_mean"]) == results[place].last.mean
        assert float(row["gap"] or "nan") == pytest.approx(results[place].gap, nan_ok=True)


def test_the_summary_says_what_the_tables_say(results) -> None:
    table = tables.summary_table(list(results.values()), OPTIONS, marks.Runs())
    row = dict(zip(table.columns, next(r for r in table.rows if r[0] == "gsd_net"), strict=True))
    assert row["Kvasir, S_R"] == f"{100 * results['gsd_net', 'S_R'].last.mean:.2f}"
    assert row["mean rank"] == "1.00"
    gaps = [results["gsd_net", noise].gap for noise in ("S_R", "S_E")]
    assert row["mean gap recovered (settings)"] == f"{100 * np.mean(gaps):.0f} % (2)"


def test_failed_runs_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / str(ABOUT[0]["key"])
    folder.mkdir(parents=True)
    (folder / "done.json").write_text(json.dumps({"failed": "loss | is nan"}), encoding="utf-8")
    tables.write(SCORES, ABOUT, tmp_path, OPTIONS)
    text = (tmp_path / "tables" / "failed.md").read_text(encoding="utf-8")
    assert re.search(r"\| Kvasir/S_R/supervised/unet seed 0 \(.*\) \| loss \\\| is nan \|", text)


def test_truth_in_the_table_is_not_the_papers_supervised() -> None:
    """A row that learned from true masks uses the same method, under no noise: no such cell is its own."""
    found = [r for r in compare(SCORES, OPTIONS) if r.noise == "none"]
    runs = marks.read_runs(ABOUT, Path("nowhere"))
    for where, columns in (({"noise_setting": "S_R"}, 0), ({"noise_setting": "clean labels, 100% of images"}, 1)):
        cells = {("Kvasir", "none"): [{"dataset": "Kvasir", **where}]}
        table = tables.setting_table(found, OPTIONS, replace(runs, reported=cells))
        assert sum(column.startswith("reported") for column in table.columns) == columns
