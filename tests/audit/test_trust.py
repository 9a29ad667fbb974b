"""Who judges after a review, and the whole audit by its verb: again, what was spoken of stays, and bad wishes."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from maskmend import audit, simulate
from maskmend.audit.cross import ENOUGH, CrossConfig, Crossing, dealt, patients
from maskmend.audit.store import Audit, open_audit
from maskmend.audit.trust import choose
from maskmend.data.dataset import open_dataset
from maskmend.data.formats import Picture, read_label
from maskmend.data.geometry import Geometry
from maskmend.data.phantom import write_phantom
from maskmend.errors import InputError
from maskmend.review.simulated import simulated_review
from maskmend.verbs.audit import AuditSummary

WORDS = ["train.epochs=1", "train.steps=2", "train.batch={any: 4}", "network.width=4"]
FLAT = Geometry((1.0, 1.0))


def crossing(answers: dict[str, float]) -> Any:
    """Networks that draw a label shifted by so many voxels, by the kind of network."""

    def judge(kind: str) -> Any:
        def probabilities(case: Any, label: Picture) -> np.ndarray:
            drawn = np.roll(label.array, int(answers[kind]), 0)
            return np.stack([drawn == 0, drawn == 1]).astype(np.float32)

        return SimpleNamespace(kind=kind, probabilities=probabilities)

    names = [SimpleNamespace(name=f"c{n}") for n in range(ENOUGH)]
    return SimpleNamespace(
        dataset=SimpleNamespace(train=names), given=lambda reviewed: judge("given"),
        halves=lambda reviewed: judge("halves"), of_reviewed=lambda reviewed: judge("reviewed"),
    )  # fmt: skip


def labels(count: int) -> dict[str, Picture]:
    label = np.zeros((16, 16), int)
    label[4:12, 4:12] = 1
    return {f"c{n}": Picture(label, FLAT) for n in range(count)}


@pytest.mark.parametrize(
    ("count", "halves", "before", "others", "kind", "said"),
    [
        (ENOUGH, 1, 3, False, "reviewed", "alone judges the rest"),
        (ENOUGH, 3, 1, False, "given", "draw no better"),
        (ENOUGH, 3, 1, True, "others", "The judges stay"),
        (ENOUGH - 1, 1, 3, False, "given", "takes 8 or more; networks learn from all masks"),
        (
            1,
            1,
            3,
            True,
            "others",
            "1 reviewed mask cannot judge the others alone, for that takes 8",
        ),
    ],
)
def test_the_better_one_judges(count: int, halves: int, before: int, others: bool, kind: str, said: str) -> None:
    def drawn_before(room: str, case: str) -> np.ndarray:
        return np.roll(labels(1)["c0"].array, before, 0)

    other = cast(Any, SimpleNamespace(kind="others")) if others else None
    made = crossing({"given": 2, "halves": halves, "reviewed": 0})
    before_it = cast(Audit, SimpleNamespace(map=drawn_before))
    with warnings.catch_warnings(record=True) as warned:
        choice = choose(made, before_it, labels(count), other)
    assert choice.judge.kind == kind
    assert said in choice.sentence
    assert [str(each.message) for each in warned] == ([choice.sentence] if count < ENOUGH else [])


def test_that_too_few_are_reviewed_is_said_before_anything_is_trained() -> None:
    def trained(reviewed: Any) -> Any:
        raise AssertionError

    made = SimpleNamespace(given=trained)
    with pytest.warns(UserWarning, match="takes 8 or more"), pytest.raises(AssertionError):
        choose(cast(Any, made), cast(Any, None), labels(2))


def test_folds_keep_patients_together(tmp_path: Path) -> None:
    data = write_phantom(tmp_path / "D", 2, train=8, test=0, size=32)
    names = sorted(case.name for case in data.train)
    lines = [f"{name},p{n // 2}" for n, name in enumerate(names)]
    (data.root / "patients.csv").write_text("\n".join(["case,patient", *lines]) + "\n")
    of, folds = patients(data), dealt(data, names, 2)
    assert sorted(name for fold in folds for name in fold) == names
    assert all(len({of[name] for name in fold}) == 2 for fold in folds)
    with pytest.raises(InputError, match="4 patients or volumes with a usable label, too few for 5 folds"):
        dealt(data, names, 5)
    with pytest.raises(InputError, match="1 case with a usable label, too few for 2 folds; audit without --cross"):
        dealt(data, names[:1], 2)
    (data.root / "patients.csv").write_text("case,patient\nnobody,p1\n")
    with pytest.raises(InputError, match=r"line 2, names the case nobody"):
        patients(data)


def test_a_class_that_one_fold_lacks_is_named(tmp_path: Path) -> None:
    data = write_phantom(tmp_path / "D", 2, train=4, test=0, size=32)
    top = max(data.labels.values())
    usable = {case.name: frozenset({0, *range(1, top)}) for case in data.train}
    crossing = Crossing(data, tmp_path / "networks", CrossConfig(), usable)
    with pytest.raises(InputError, match=r"would see no .* in no usable label; audit without --cross"):
        crossing.given({})
    first, second = sorted(dealt(data, sorted(usable), 2)[0])
    for held, cure in (([first], "audit without --cross"), ([first, second], "give a larger --cross")):
        usable |= dict.fromkeys(held, frozenset({*data.labels.values()}))
        with pytest.raises(InputError, match=f"would see no .* only in {', '.join(held)}; {cure}"):
            crossing.given({})


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("spoilt")
    data = write_phantom(root / "D", 2, train=10, test=0, size=32)
    simulate(data.root, root / "N", "dilate_erode", {"low": 2, "high": 3})
    return root / "N"


@pytest.fixture(scope="module")
def audited(spoilt: Path) -> Path:
    audit(spoilt, spoilt.parent / "audit", cross=2, overrides=WORDS, device="cpu", jobs=0)
    return spoilt.parent / "audit"


def test_an_audit_again_lets_the_reviewed_judge_and_keeps_what_was_spoken_of(
    spoilt: Path, audited: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "audit"
    shutil.copytree(audited, folder)
    before = open_audit(folder)
    cases = [row.case for row in before.rows[:ENOUGH]]
    simulated_review(folder, spoilt / "labelsTr_truth", cases)
    spoken = {case: (folder / "findings" / f"{case}.json").read_bytes() for case in cases}
    capsys.readouterr()
    result = audit(spoilt, folder, again=True, device="cpu", jobs=0)
    said, now = capsys.readouterr().err, result.audit
    assert "2 networks are trained now, to see whether the reviewed masks alone can judge the rest" in said
    alone = [judge.kind for judge in now.about.judges] == ["reviewed"]
    assert ("1 network is trained now, to judge the rest by all reviewed masks" in said) == alone
    assert now.about.reviewed == tuple(sorted(cases))
    assert [row.case for row in now.rows if row.hint == "reviewed"] == [row.case for row in now.rows[-ENOUGH:]]
    assert {row.case for row in now.rows[-ENOUGH:]} == set(cases)
    assert f"{ENOUGH} masks are reviewed" in " ".join(now.about.sentences)
    table = result.table()
    assert "reviewed" in next(line for line in table.splitlines() if cases[0] in line)
    assert now.about.settings["cross"] == 2
    assert f"{ENOUGH} reviewed" in " ".join(now.about.sentences)
    assert {case: (folder / "findings" / f"{case}.json").read_bytes() for case in cases} == spoken
    learnt = {path.name: read_label(path).array for path in folder.glob("networks/*/data/reviewed/*")}
    for case in cases:
        truth = read_label(spoilt / "labelsTr_truth" / f"{case}{now.about.file_ending}").array
        assert (learnt[f"{case}{now.about.file_ending}"] == truth).all(), "networks learn what she left"


def test_what_is_printed_says_what_comes_next(audited: Path) -> None:
    made = open_audit(audited)
    rows = tuple(row.model_copy(update={"hint": "review"}) for row in made.rows)
    lines = AuditSummary(replace(made, rows=rows)).table().splitlines()
    assert f"Next: maskmend review {audited}" in lines
    assert any(rows[0].case in line and "look at it" in line for line in lines)
    rows = tuple(row.model_copy(update={"hint": "reviewed"}) for row in rows)
    lines = AuditSummary(replace(made, rows=rows)).table().splitlines()
    assert f"Next: maskmend mend {audited} -o DATASET" in lines
    assert any(rows[0].case in line and "reviewed" in line for line in lines)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"again": True}, "no case that you are done with and sure of"),
        ({"cross": 1}, "two folds at least"),
        ({"cross": 99}, "too few for 99 folds"),
        ({"overrides": ["network.width=4"]}, "add --cross 2"),
        ({"cross": 2, "overrides": ["network.widht=4"]}, "network.width"),
        ({"cross": 2, "overrides": ["fold=1"]}, "fold=1: --cross deals the folds itself"),
        ({"cross": 2, "overrides": ["train.batch={any: 0}"], "jobs": 0}, "train.batch"),
        ({"cross": 2, "method": "nothing"}, "nothing"),
        ({"tolerance_mm": -1.0}, "is no depth"),
        ({"engine": "cloud"}, "no such engine"),
        ({"predictions": ["labelsTr"]}, "labelsTr"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    spoilt: Path, audited: Path, tmp_path: Path, asked: dict[str, Any], said: str
) -> None:
    folder = tmp_path / "audit"
    shutil.copytree(audited, folder)
    if "predictions" in asked:
        asked = {"predictions": [spoilt / "labelsTr"]}
    with pytest.raises(InputError, match=said):
        audit(spoilt, folder, device="cpu", **asked)
    assert open_audit(folder).rows == open_audit(audited).rows


def test_a_folder_of_another_thing_is_left_alone(spoilt: Path, audited: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lies in the data set"):
        audit(spoilt, spoilt / "audit")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with pytest.raises(InputError, match=r"holds letter\.txt and no audit"):
        audit(spoilt, tmp_path / "mine")
    with pytest.raises(InputError, match="is an audit of"):
        audit(spoilt.parent / "D", audited)
    with pytest.raises(InputError, match="holds no audit yet"):
        audit(spoilt, tmp_path / "new", again=True)
    assert open_dataset(spoilt).train
