"""Order, hints, and the sentences that a person is told."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from maskmend.audit import rank
from maskmend.audit.rank import Judged
from maskmend.audit.store import Finding, Judge
from maskmend.functional.edges import Offset


def finding(kind: str = "hole", confidence: float = 0.5, voxels: int = 3) -> Finding:
    source = "model" if kind == "missing" else "check"
    return Finding(
        id="a:1", number=1, kind=kind, class_="liver", source=source, voxels=voxels, confidence=confidence, text="T."
    )


def judged(doubt: float, certainty: float = 0.95) -> Judged:
    return Judged(doubt, doubt, certainty, 0.9, {"margin": doubt / 2})


def test_the_most_doubtful_comes_first_and_what_cannot_be_used_before_it() -> None:
    found = dict.fromkeys("abcdef", ()) | {"a": (finding(),), "c": (finding("file", 1.0, 0),)}
    found["d"] = (finding(confidence=0.95),)
    doubts = {"a": 0.02, "b": 0.4, "f": 0.01}
    rows = rank.ordered(list("abcdef"), {case: judged(doubt) for case, doubt in doubts.items()}, found)
    assert [row.case for row in rows] == ["c", "b", "a", "f", "d", "e"]
    assert [row.hint for row in rows] == ["review", "redraw", "review", "fine", "review", "fine"]
    assert [row.doubt for row in rows] == [1.0, 0.4, 0.02, 0.01, None, None]
    assert rows[1].scores == {"margin": 0.2, "checks": 0.0}


def test_without_a_judge_the_checks_rank() -> None:
    found = {"a": (finding(confidence=0.3),), "b": (finding(confidence=0.8),), "c": (finding("missing", 0.9),)}
    rows = rank.ordered(list("abc"), {}, found)
    assert [(row.case, row.doubt) for row in rows] == [("b", 0.8), ("a", 0.3), ("c", 0.0)]


@pytest.mark.parametrize(
    ("doubts", "kind", "redrawn"),
    [([0.3] * 9, "cross", 0), ([0.3] * 9, "reviewed", 9), ([0.3, *[0.01] * 9], "nnunet", 0)],
)
def test_where_most_differ_only_a_judge_of_reviewed_labels_redraws(
    doubts: Sequence[float], kind: str, redrawn: int
) -> None:
    names = [str(n) for n in range(len(doubts))]
    rows = rank.ordered(
        names, {n: judged(d) for n, d in zip(names, doubts, strict=True)}, dict.fromkeys(names, ()), kind
    )
    assert sum(row.hint == "redraw" for row in rows) == redrawn


def said(doubts: Sequence[float], certainty: float = 0.95, more: int = 0) -> str:
    names = [str(n) for n in range(len(doubts))]
    every = {n: judged(d, certainty) for n, d in zip(names, doubts, strict=True)}
    names += [f"more{n}" for n in range(more)]
    rows = rank.ordered(names, every, dict.fromkeys(names, ()))
    return " ".join(rank.sentences(rows, every, [Judge(kind="cross", held_out=False, cases=len(doubts))]))


def test_networks_that_learnt_nothing_redraw_nothing() -> None:
    """All background, and sure of it: the Dice of two empty masks is 1."""
    every = {str(n): Judged(0.9 + n / 1000, 0.9 + n / 1000, 1.0, 0.01) for n in range(8)} | {
        "8": Judged(1.0, 1.0, 1.0, 0.0)
    }
    rows = rank.ordered(list(every), every, dict.fromkeys(every, ()), "cross")
    assert {row.hint for row in rows} == {"review"}
    said = " ".join(rank.sentences(rows, every, [Judge(kind="cross", held_out=False, cases=9)]))
    assert "let it learn longer" in said
    assert "redrawn" not in said


def test_sentences() -> None:
    assert "look clean" in said([0.01] * 30)
    few = said([0.01] * 26 + [0.5] * 4)
    assert "4 of 30 masks differ clearly" in few
    assert "4 of them can be redrawn" in few
    weak = said([0.01] * 26 + [0.5] * 4, certainty=0.5)
    assert "review before you mend" in weak
    assert "redrawn" not in weak
    assert "look clean" not in said([0.01] * 30, certainty=0.5), "who is not sure of anything cannot tell"
    learnt = Judge(kind="predictions", paths=("P",), held_out=True, cases=1, dice=0.999)
    assert not rank.looks_clean([judged(0.01)] * 30, [learnt]), "they were learnt, labels agree with themselves"
    one = {"a": judged(0.01)}
    assert "it may have learnt them" in " ".join(rank.sentences(rank.ordered(["a"], one, {"a": ()}), one, [learnt]))
    assert "3 masks had no judge" in said([0.01] * 30, more=3)
    assert "--cross 2" in " ".join(rank.sentences(rank.ordered(["a"], {}, {"a": ()}), {}, []))
    assert rank.of_classes([]) == []
    assert "No usable mask holds lung, class 2" in rank.of_classes(["lung", "2"])[0]
    assert rank.of_files(["a"]) == ["Not to be used as given: 1 mask (a)."]
    assert rank.of_test(0) == []
    assert rank.of_test(1) == ["1 test mask was not looked at, and may be wrong as well."]


def test_what_is_reviewed_comes_last_and_counts_no_more() -> None:
    names = [f"c{n:02d}" for n in range(40)]
    every = {name: judged(0.5 if n < 4 else 0.01) for n, name in enumerate(names)}
    found = dict.fromkeys(names, ()) | {"c00": (finding(confidence=0.95),), "c01": (finding("file", 1.0, 0),)}
    rows = rank.ordered(names, every, found, "reviewed", names[:2])
    assert [row.case for row in rows[:3]] == ["c02", "c03", "c04"]
    assert [(row.case, row.hint) for row in rows[-2:]] == [("c01", "reviewed"), ("c00", "reviewed")]
    said = " ".join(rank.sentences(rows, every, [Judge(kind="reviewed", held_out=False, cases=40)]))
    assert "2 of 38 masks differ clearly" in said or "look clean" not in said
    assert "2 of them can be redrawn" in said
    assert "The checks are sure" not in said
    assert "2 masks are reviewed and no longer counted." in said
    assert rank.sentences(rank.ordered(names, every, found, "reviewed", names), every, []) == [
        "40 masks are reviewed and no longer counted."
    ]


@pytest.mark.parametrize(("doubted", "reviewed", "few"), [(2, 2, True), (3, 2, False), (0, 0, False), (0, 40, True)])
def test_little_is_left_once_something_is_reviewed(doubted: int, reviewed: int, few: bool) -> None:
    names = [f"c{n:02d}" for n in range(40)]
    every = {name: judged(0.5 if n < doubted else 0.01) for n, name in enumerate(names)}
    rows = rank.ordered(names, every, dict.fromkeys(names, ()), "reviewed", names[40 - reviewed :])
    assert rank.few_left(rows) is few
    unsure = [row.model_copy(update={"scores": {"certainty": 0.7}}) for row in rows]
    assert rank.few_left(unsure) is (few and reviewed == 40), "a judge that is not sure cannot tell"


@pytest.mark.parametrize(("confidence", "hint"), [(0.81, "review"), (0.5, "review"), (0.49, "fine")])
def test_a_check_that_is_rather_sure_asks_for_a_look(confidence: float, hint: str) -> None:
    (row,) = rank.ordered(["a"], {"a": judged(0.01)}, {"a": (finding(confidence=confidence),)})
    assert row.hint == hint
    (row,) = rank.ordered(["a"], {"a": judged(0.01)}, {"a": (finding("missing", confidence),)})
    assert row.hint == "fine", "of what networks find, the doubt of the whole mask decides"


def test_shares_as_people_write_them() -> None:
    assert [rank.percent(x) for x in (0, 0.004, 0.041, 0.0996, 0.12, 0.999, 1)] == [
        "0 %", "0.4 %", "4.1 %", "10 %", "12 %", "100 %", "100 %",
    ]  # fmt: skip


def test_what_all_masks_share_is_told_with_cases_to_review() -> None:
    cases = [f"c{n:02d}" for n in range(30)]
    one, two = rank.of_edges({"lung": Offset(mm=4.2, sure=0.9)}, cases, known_mm=False)
    assert one == "Every given mask of lung looks too wide, by about 4.2 px, by the images' edges."
    assert sum(case in two for case in cases) == rank.AT_RANDOM
    assert "too tight, by about 3 mm" in rank.of_edges({"lung": Offset(mm=-3, sure=0.9)}, cases, known_mm=True)[0]
    assert rank.of_edges({}, cases, known_mm=True) == []
    assert len(rank.of_edges({"lung": Offset(mm=4.2, sure=0.9)}, cases, known_mm=False, reviewed=True)) == 1


def test_what_an_image_contradicts_comes_before_what_networks_doubt() -> None:
    doubts = {"a": 0.3, "b": 0.02, "c": 0.05}
    rows = rank.ordered(
        list("abc"), {case: judged(d) for case, d in doubts.items()}, dict.fromkeys("abc", ()), edges={"b": 0.15}
    )
    assert [row.case for row in rows] == ["b", "a", "c"]
    assert rows[0].doubt == pytest.approx(1 - 0.98 * 0.85**4)
    assert [row.scores["edges"] for row in rows] == [0.15, 0, 0]


def test_masks_that_images_contradict_are_told_by_class_and_are_not_clean() -> None:
    off = [{1: 4.0}, {1: 6.0, 2: -3.0}, {1: -5.0}]
    wide, tight = rank.of_ends(off, {0: "background", 1: "liver", 2: "spleen"}, known_mm=True)
    assert wide.startswith("3 masks of liver end off the edge in the image, 2 too wide and 1 too tight, by about 5 mm.")
    assert tight.startswith("1 mask of spleen ends off the edge in the image, too tight, by about 3 mm.")
    fine = [judged(0.01)] * 20
    assert rank.looks_clean(fine)
    assert rank.looks_clean(fine, off=1)
    assert not rank.looks_clean(fine, off=2)
