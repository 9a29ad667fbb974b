"""``train --audit`` takes the share of wrong pixels from an audit; ``methods --advise`` names the method."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.toy import write_toy
from typer.testing import CliRunner

from maskmend import config, methods
from maskmend.audit.advice import advise
from maskmend.audit.store import Judge, Row, Share, open_audit, write_about, write_rows
from maskmend.audit.tau import EITHER
from maskmend.cli import app
from maskmend.data.formats import read_label, write_label
from maskmend.errors import InputError
from maskmend.verbs.audit import AuditSummary, audit
from maskmend.verbs.train import tau_of

SHARES = {"background": Share(value=0.03, low=0.01, high=0.1), "part1": Share(value=0.2, low=0.1, high=0.4)}
IMAGE = Share(value=0.05, low=0.02, high=0.11)
TORN = IMAGE.model_copy(update={"unknown": EITHER})
CROSS = (Judge(kind="cross", held_out=False, cases=8),)
REVIEWED = (Judge(kind="reviewed", held_out=False, cases=8),)


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return write_toy(tmp_path / "data", cases=10)


@pytest.fixture
def audited(toy: Path, tmp_path: Path) -> Path:
    """An audit whose shares were told by a judge."""
    folder = audit(toy, tmp_path / "audit").audit.folder
    labels = list(open_audit(folder).about.labels)
    assert set(labels) == set(SHARES)
    rewrite(folder, tau=SHARES, tau_image=IMAGE, judges=CROSS)
    return folder


def rewrite(folder: Path, hints: Sequence[str] = (), **about: Any) -> None:
    before = open_audit(folder)
    write_about(folder, before.about.model_copy(update=about))
    rows = [Row.model_validate(row.model_dump() | {"hint": h}) for row, h in zip(before.rows, hints, strict=False)]
    write_rows(folder, [*rows, *before.rows[len(rows) :]])


@pytest.mark.parametrize("method", [n for n in methods.names() if "tau" in methods.find(n)[1].model_fields])
def test_every_method_with_a_tau_takes_the_share_of_all_pixels(method: str, audited: Path, toy: Path) -> None:
    taken = tau_of(audited, toy, method)
    assert taken.tau == 0.05
    assert config.load_config(None, method, [taken.word]).method["tau"] == 0.05


def test_a_method_that_drops_of_each_class_takes_a_share_of_each(audited: Path, toy: Path) -> None:
    words = ["method.ranking=class"]
    assert tau_of(audited, toy, "sp_guided", None, words).word == "method.tau=[0.03, 0.2]"
    assert tau_of(audited, toy, "gsd_net", None, words).word == "method.tau=0.05"
    assert config.load_config(None, "sp_guided", [*words, "method.tau=[0.03, 0.2]"]).method["tau"] == (0.03, 0.2)


def test_what_an_audit_cannot_tell(audited: Path, toy: Path, tmp_path: Path) -> None:
    def refused(words: str, *asked: Any) -> None:
        with pytest.raises(InputError, match=words):
            tau_of(audited, *asked)

    cure = "leave --audit out, or name a method with one, such as --method gsd_net"
    refused(f"'robust' has no tau for an audit to tell; {cure}", toy)
    refused("method.tau=0.1 is given", toy, "gsd_net", None, ["method.tau=0.1"])
    refused("is an audit of .*, not of", write_toy(tmp_path / "other", cases=2), "gsd_net")
    rewrite(audited, tau_image=IMAGE.model_copy(update={"unknown": "the sun shone"}))
    refused(
        r"does not know how much is wrong \(the sun shone\); review some masks and audit with --again", toy, "jocor"
    )
    rewrite(audited, tau_image=None)
    refused("holds no share of wrong pixels; make it again with --cross 2", toy, "gsd_net")
    path = sorted((toy / "labelsTr").iterdir())[0]
    label = read_label(path)
    write_label(path, 1 - label.array, label.geometry)
    refused("changed since", toy, "gsd_net")


def test_the_command_says_what_it_took(audited: Path, toy: Path, tmp_path: Path) -> None:
    words = ["network.width=4", "network.strides=[2,2]", "train.batch={any: 2}", "fold=all"]
    asked = ["train", str(toy), "-o", str(tmp_path / "run"), "--method", "co_teaching", "--audit", str(audited)]
    done = CliRunner().invoke(app, [*asked, "--fast-dev-run", "--device", "cpu", *words])
    assert done.exit_code == 0, done.output
    assert "method.tau=0.05" in done.output
    assert "5.0 % (2.0 % to 11 %) of all pixels" in re.sub(r"\s+", " ", done.output)
    assert config.load_config(tmp_path / "run" / "config.yaml").method["tau"] == 0.05
    both = CliRunner().invoke(app, [*asked, "--search", "tau"])
    assert both.exit_code == 2
    assert "leave one out" in re.sub(r"\s+", " ", both.output)


@pytest.mark.parametrize(
    ("hints", "about", "why", "steps"),
    [
        (["reviewed"] * 8, {}, "8 masks were reviewed", ["audit", "mend", "train"]),
        (["reviewed"] * 8, {"judges": REVIEWED}, "by which", ["mend", "train"]),
        (["reviewed"] * 10, {}, "10 masks were reviewed, by which", ["mend", "train"]),
        (["reviewed"] * 2, {"edges_mm": {"part1": 4.0}}, "edges contradict", ["review", "audit", "mend", "train"]),
        ([], {"tau_image": TORN, "looks_clean": False}, "either may be right", ["review", "audit", "mend", "train"]),
        (["redraw", "review", "fine"], {}, "2 of 10 masks are worth a look (1 can be redrawn, 1 for a", ["train"]),
        ([], {"looks_clean": True}, "look clean", ["train"]),
        ([], {"judges": ()}, "no network judged", ["train"]),
    ],
)  # fmt: skip
def test_advice_after_an_audit(
    hints: Sequence[str], about: dict[str, Any], why: str, steps: Sequence[str], audited: Path
) -> None:
    rewrite(audited, [*hints, *["fine"] * (10 - len(hints))], **about)
    advice = advise(audited)
    assert why in advice.why
    assert [step.split()[1] for step in advice.steps] == steps
    assert advice.method in methods.names()
    last = AuditSummary(open_audit(audited)).table().splitlines()[-1]
    assert last.endswith(advice.why)
    assert last.startswith(f"To train with: {advice.method}")


def test_advice_for_a_data_set(toy: Path) -> None:
    (toy / "supervision.csv").unlink()
    assert "an audit tells" in advise(toy).why
    names = sorted(path.stem for path in (toy / "labelsTr").iterdir())
    (toy / "supervision.csv").write_text("case,supervision\n" + "".join(f"{name},clean\n" for name in names[:3]))
    assert "3 cases of 10 are marked clean" in advise(toy).why
    (toy / "supervision.csv").write_text("case,supervision\n" + "".join(f"{name},clean\n" for name in names))
    shown = CliRunner().invoke(app, ["methods", "--advise", str(toy)])
    assert shown.exit_code == 0, shown.output
    assert "every case is marked clean" in re.sub(r"\s+", " ", shown.output)


def test_advice_is_of_a_data_set_or_an_audit(tmp_path: Path, toy: Path) -> None:
    assert CliRunner().invoke(app, ["methods", "--advise", str(tmp_path / "nothing")]).exit_code == 2
    assert CliRunner().invoke(app, ["methods", "gce", "--advise", str(toy)]).exit_code == 2


def test_a_broken_assumption_is_told_before_the_first_step(toy: Path, tmp_path: Path) -> None:
    words = ["network.width=4", "network.strides=[2,2]", "train.batch={any: 2}", "fold=all", "method.tau=0.9"]
    asked = ["train", str(toy), "-o", str(tmp_path / "run"), "--method", "co_teaching", "--fast-dev-run"]
    done = CliRunner().invoke(app, [*asked, "--device", "cpu", *words])
    assert done.exit_code == 0, done.output
    assert re.search(r"holds? no more of .*'part1'", re.sub(r"\s+", " ", done.output + done.stderr))
