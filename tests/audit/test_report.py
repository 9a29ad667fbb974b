"""The report is one safe file that shows what was found, the worst first."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from tests.review.made import make_audit

from maskmend.audit import report, store
from maskmend.audit.html import POLICY
from maskmend.audit.records import KINDS
from maskmend.audit.report import write_report
from maskmend.audit.store import Audit, Judge, Share
from maskmend.audit.suggest import joined
from maskmend.data.geometry import Geometry

VOID = {"meta", "img", "link", "br"}
EVIL = "<img src=x onerror=alert(1)>"


class Walk(HTMLParser):
    """Reads a page; every element must be closed, and nothing be run or loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.seen, self.sources, self.policy = list[str](), list[str](), list[str](), ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.sources += [str(value) for name, value in attrs if name in ("src", "href", "action")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag == "meta" and dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.policy = str(dict(attrs)["content"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def walked(path: Path) -> Walk:
    """The page, read: it is whole, and names nothing outside."""
    walk, text = Walk(), path.read_text("utf-8")
    walk.feed(text)
    assert not walk.open
    assert "script" not in walk.seen
    assert walk.policy == POLICY
    assert all(source.startswith("data:image/png;base64,") for source in walk.sources)
    assert re.search(r"https?:", text) is None
    return walk


def rewritten(audit: Audit, **changes: object) -> Audit:
    """The audit with its rows changed."""
    store.write_rows(audit.folder, [row.model_copy(update=changes) for row in audit.rows])
    return store.open_audit(audit.folder)


@pytest.mark.parametrize(
    ("shape", "ending", "channels", "ignore"),
    [
        ((20, 24), ".png", 1, None),
        ((20, 24), ".png", 3, 3),
        ((6, 20, 24), ".nii.gz", 1, 3),
        ((20, 24), ".nii.gz", 2, None),
        ((6, 20, 24), ".mha", 2, None),
    ],
)
def test_the_page_is_whole_and_safe(
    tmp_path: Path, shape: tuple[int, ...], ending: str, channels: int, ignore: int | None
) -> None:
    audit = make_audit(tmp_path, shape, names=(EVIL, "b"), ending=ending, channels=channels, ignore=ignore)
    path = write_report(audit)
    assert path == audit.folder / "report.html"
    assert walked(path).seen.count("img") == 1, "one case has findings"
    text = path.read_text("utf-8")
    assert EVIL not in text
    assert "&lt;img src=x" in text
    assert "No lesion here." in text
    assert ("not annotated" in text) == (ignore is not None)


def test_every_word_of_an_audit_is_escaped(tmp_path: Path) -> None:
    audit = make_audit(tmp_path / EVIL, (20, 24), ending=".png")
    judge = Judge(kind=EVIL, held_out=True, cases=2, dice=0.5)
    share = Share(value=0.1, low=0.05, high=0.2)
    said = {"sentences": (EVIL,), "tau": {EVIL: share}, "judges": (judge,), "ignore": 9}
    found = [f.model_copy(update={"class_": EVIL, "text": EVIL}) for f in audit.findings("a")]
    store.write_case(audit.folder, audit.about, "a", found, {}, Geometry((1.0, 1.0)))
    path = write_report(Audit(audit.folder, audit.about.model_copy(update=said), audit.rows))
    assert walked(path).seen.count("img") == 1, "the picture of the case"
    text = path.read_text("utf-8")
    assert EVIL not in text
    assert text.count("&lt;img src=x onerror=alert(1)&gt;") >= 8


def test_the_head_says_who_judged_how_much_is_wrong_and_what_to_do(tmp_path: Path) -> None:
    audit = make_audit(tmp_path / "with space", (20, 24), ending=".png")
    text = write_report(audit).read_text("utf-8")
    assert "No network judged them" in text
    assert "--cross 2" in text
    assert re.search(r"maskmend review &#x27;[^<]*with space/audit&#x27;", text), "a folder with a space is quoted"
    judge = Judge(kind="nnunet", held_out=True, cases=1, dice=0.876)
    share = Share(value=0.123, low=0.101, high=0.167)
    about = audit.about.model_copy(update={"judges": (judge,), "tau": {"liver": share}, "sentences": ("Look here.",)})
    text = write_report(Audit(audit.folder, about, audit.rows)).read_text("utf-8")
    assert "1 of them are judged by the folds of nnU-Net. None had learnt from the case it judged." in text
    assert "Dice of 0.88" in text
    assert "--cross" not in text
    for words in ("Look here.", "12 %", "10 % to 17 %", "drawn where nothing is", "not drawn"):
        assert words in text


def test_predictions_of_unknown_origin_and_doubts_of_checks_are_told_as_such(tmp_path: Path) -> None:
    audit = rewritten(make_audit(tmp_path, (20, 24), ("a", "b", "c"), ".png"), doubt=0.5)
    text = write_report(audit).read_text("utf-8")
    assert "3 of 3 masks have a doubt of 0.5 or more" in text
    assert "how sure the checks are" in text
    judge = Judge(kind="predictions", held_out=False, cases=3)
    text = write_report(
        Audit(audit.folder, audit.about.model_copy(update={"judges": (judge,)}), audit.rows)
    ).read_text()
    assert "3 of 3 masks have a doubt of 0.1 or more" in text
    assert "Judged by predictions that you gave. They say little if" in text
    assert re.findall(r"<text[^>]*>(\d+)</text><", text)[:1] == ["3"], "the histogram says how many"


def test_a_small_finding_is_shown_large_and_where_it_lies(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, (200, 240), ending=".png")
    tiny = store.Doubted("missing", 2, np.array([100 * 240 + 120]), 0.9, "A voxel.", value=1)
    label = audit.given("a")
    found, numbers, suggested = joined("a", label.array, [tiny], audit.about.labels, label.geometry)
    maps = {"findings": numbers, "suggestions": suggested}
    store.write_case(audit.folder, audit.about, "a", found, maps, label.geometry)
    path = write_report(audit)
    assert walked(path).seen.count("img") == 2
    assert "with a frame around this part" in path.read_text("utf-8")


def test_every_kind_has_words() -> None:
    assert set(report.MEANING) == set(KINDS)
    assert set(report.JUDGES) == {"cross", "reviewed", "runs", "nnunet", "predictions"}


def test_without_findings_images_or_judges(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, (20, 24), names=("a", "b"), ending=".png")
    for path in (tmp_path / "Dataset001_Made" / "imagesTr").iterdir():
        path.write_bytes(b"no picture")
    assert walked(write_report(audit)).seen.count("img") == 1, "outlines alone"
    assert "svg" in walked(audit.folder / "report.html").seen
    store.write_case(audit.folder, audit.about, "a", [], {}, Geometry((1.0, 1.0)))
    path = write_report(rewritten(audit, findings=0, hint="fine", doubt=None))
    assert "Nothing wrong to be seen" in path.read_text("utf-8")
    walk = walked(path)
    assert "img" not in walk.seen
    assert "svg" not in walk.seen, "no doubt, no histogram"


def test_a_label_that_is_gone_is_told_instead_of_its_picture(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, (20, 24), ending=".png")
    path = audit.cases["a"].label
    assert path is not None
    path.write_bytes(b"")
    page = write_report(audit)
    assert "img" not in walked(page).seen
    assert f"{path} changed since" in page.read_text("utf-8")


def test_only_the_worst_have_pictures_and_all_stand_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"case_{n}" for n in range(6)]
    audit = rewritten(make_audit(tmp_path, (20, 24), names, ".png"), hint="review")
    monkeypatch.setattr(report, "PICTURES", 4)
    path = write_report(audit)
    assert walked(path).seen.count("img") == 4
    text = path.read_text("utf-8")
    assert "4 cases, the most doubtful first" in text
    assert "2 further cases" in text
    assert [re.findall(name, text.split("<details>")[1]) for name in names] == [[name] for name in names]
    order = re.findall(r"<h3>\d\. (\w+)", text)
    assert order == names[:4]


@pytest.mark.parametrize("doubts", [(0.9, 0.3), (0.1, 0.15), (1.0, 0.3)])
def test_a_doubt_on_an_edge_is_of_the_bar_above_it(tmp_path: Path, doubts: tuple[float, float]) -> None:
    audit = make_audit(tmp_path, (20, 24), ("a", "b"), ".png")
    rows = [row.model_copy(update={"doubt": doubt}) for row, doubt in zip(audit.rows, doubts, strict=True)]
    text = write_report(Audit(audit.folder, audit.about, tuple(rows))).read_text("utf-8")
    counts = re.findall(r"<text[^>]*middle[^>]*>(\d*)</text>", text)
    size = 0.1 if max(doubts) > 0.5 else 0.05
    assert [n for n, count in enumerate(counts) if count] == sorted(min(round(d / size), 9) for d in doubts)


def test_the_reviewed_stand_last_without_a_picture(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, (20, 24), ("a", "b", "c"), ".png")
    text = write_report(rewritten(audit, hint="reviewed", doubt=0.4)).read_text("utf-8")
    assert "Every mask is reviewed" in text
    assert "<article>" not in text
    assert text.count("<td>reviewed</td>") == 3
    assert "maskmend mend" in text
    assert "maskmend review" not in text, "nothing is left to look at"
    assert "a doubt of" not in text
    assert "What was found" not in text


def test_what_is_hardly_believed_is_not_told(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, (20, 24), ("a",), ".png")
    found = audit.findings("a")
    sure = [f.model_copy(update={"confidence": 0.09 if n == 0 else 0.1}) for n, f in enumerate(found)]
    store.write_case(audit.folder, audit.about, "a", sure, {}, Geometry((1.0, 1.0)))
    text = write_report(audit).read_text("utf-8")
    assert found[0].text not in text
    assert found[1].text in text
    assert '<li value="2">' in text, "as it is numbered in the picture"
    assert "and 1 smaller or less sure one" in text


def test_ten_thousand_cases(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, (20, 24), ("a",), ".png")
    fine = [audit.rows[0].model_copy(update={"case": f"c{n}", "rank": n, "findings": 0, "hint": "fine", "doubt": 0.01})
            for n in range(2, 10_002)]  # fmt: skip
    path = write_report(Audit(audit.folder, audit.about, (*audit.rows, *fine)))
    assert path.stat().st_size < 3e6
    assert path.read_text("utf-8").count("<tr>") > 10_000
