"""The numbers that the papers report: all there, as printed, found by what one would ask."""

from __future__ import annotations

from collections import Counter

import pytest

from maskmend.bench import reported


def test_all_are_there_and_are_numbers() -> None:
    rows = reported.load()
    papers = {"ALC": 176, "DeepSelfCleansing": 380, "GSD-Net": 555, "MLB-Seg": 123, "SP-Guided": 203}
    assert Counter(row.paper for row in rows) == papers
    assert papers.keys() == reported.CAVEATS.keys()
    assert all(float(row.mean) >= 0 and (not row.std or float(row.std) >= 0) for row in rows)
    assert all(row.table and row.source_line and row.unit and row.better in ("higher", "lower") for row in rows)


def test_printed_strings_are_kept() -> None:
    (row,) = reported.find(
        paper="ALC", table="I", method_key="supervised_clean_only", metric="Jaccard",
        noise_setting="10% HQ + 90% LQ (random dilate/erode 3-15 px)",
    )  # fmt: skip
    assert (row.mean, row.text, row.note[:5]) == ("56.50", "56.50", "H-Sup")


def test_jaccard_agrees_with_dice() -> None:
    """Over cases, J = D / (2 - D) is convex in D: the mean Jaccard is at least that of the mean Dice."""
    cells = {
        (r.paper, r.table, r.source_line, r.method, r.noise_setting, r.train_setting, r.metric): float(r.mean) / 100
        for r in reported.load()
        if r.metric in ("Dice", "Jaccard")
    }
    pairs = [(dice, cells[(*key[:-1], "Jaccard")]) for key, dice in cells.items() if (*key[:-1], "Jaccard") in cells]
    assert len(pairs) > 50
    assert all(jaccard > dice / (2 - dice) - 1e-4 for dice, jaccard in pairs)


def test_noise_by_its_code_and_any_case() -> None:
    rows = reported.find(paper="gsd-net", dataset="KVASIR", noise_setting="s_r", method_key="jocor", table="4")
    assert [row.noise_setting for row in rows] == ["S_R (Markov, foreground-reducing)"]
    assert rows[0].text == f"{rows[0].mean} ± {rows[0].std}"
    with pytest.raises(ValueError, match="no such fields: methd"):
        reported.find(methd="jocor")


def test_our_names_lead_to_the_files() -> None:
    rows = reported.find(metric="Dice")
    assert {row.paper for row in reported.of_method(rows, "self_cleansing", "paper")} == {"DeepSelfCleansing"}
    assert {row.method_key for row in reported.of_method(rows, "mtcl", "uds")} == {"mtcl_uds"}
    assert {row.method_key for row in reported.of_method(rows, "mtcl", "hard")} == {"mtcl_hard"}
    assert reported.of_method(rows, "my_lab.mine") == []
    known = {row.method_key for row in rows}
    assert set(reported.OTHER_NAMES.values()) <= known


def test_a_cell_tells_its_numbers_apart() -> None:
    where = {"dataset": "HCC (in-house CT)", "noise_setting": reported.find(table="2", proposed="1")[0].noise_setting}
    both = reported.find(paper="DeepSelfCleansing", method_key="jocor", **where)
    assert reported.cell(both) == f"{both[0].mean} (B); {both[1].mean} (L)"
    assert reported.cell(both[:1]) == both[0].mean
    assert reported.cell(both[:1] * 2) == both[0].mean
    assert reported.cell([]) == ""


def test_a_number_that_two_tables_print_is_shown_once_and_one_that_differs_twice() -> None:
    """JoCoR on Kvasir is 67.98 in GSD-Net's Table 4 and 71.05, as its ablation's first setting, in Table 7."""
    where = {"paper": "GSD-Net", "dataset": "Kvasir", "noise_setting": "S_R"}
    ours = reported.find(**where, method_key="gsd_net", metric="Dice")
    assert len(ours) > 1
    assert reported.cell([row for row in ours if row.table in ("4", "9")]).count(".") <= 2 * len({r.text for r in ours})
    jocor = reported.find(**where, method_key="jocor", table="4")
    assert reported.cell(jocor).startswith("67.98")
