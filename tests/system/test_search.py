"""The search for a parameter: short trainings, the smallest criterion, a curve to look at, nothing done twice."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from tests.toy import write_toy
from typer.testing import CliRunner

from maskmend import methods
from maskmend.cli import app
from maskmend.engine.events import read_events
from maskmend.errors import InputError
from maskmend.verbs import search as verb
from maskmend.verbs.search import SearchResult, criterion, halfway, search

WORDS = ["train.epochs=2", "train.batch={any: 4}", "fold=all", "network.width=4", "network.strides=[2, 2]"]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MASKMEND_CACHE", str(tmp_path / "cache"))
    return write_toy(tmp_path / "data", cases=8)


def find(toy: Path, run: Path, **more: Any) -> SearchResult:
    asked = {"candidates": (0.2, 0.05), "device": "cpu"} | more
    return search(toy, run, "tau", "gsd_net", overrides=WORDS, **asked)


def test_the_smallest_criterion_wins(toy: Path, tmp_path: Path) -> None:
    result = find(toy, tmp_path / "run")
    assert [value for value, _ in result.curve] == [0.05, 0.2]
    assert dict(result.curve)[result.best] == min(value for _, value in result.curve)
    assert result.word == f"method.tau={result.best:g}"
    rows = list(csv.reader((tmp_path / "run/search/tau.csv").open()))
    assert rows[0] == ["tau", "criterion"]
    assert [tuple(map(float, row)) for row in rows[1:]] == list(result.curve)
    assert (tmp_path / "run/search/tau.png").stat().st_size > 1000


def test_the_criterion_is_the_mean_of_the_last_quarter(toy: Path, tmp_path: Path) -> None:
    find(toy, tmp_path / "run", candidates=(0.1,), epochs=3)
    folder = tmp_path / "run/search/tau=0.1"
    logged = [event["search"] for event in read_events(folder, "train")]
    assert len(logged) == 6
    assert criterion(folder) == pytest.approx(sum(logged[-2:]) / 2)


@pytest.mark.parametrize(
    ("curve", "between"),
    [
        ({0.01: 3.0, 0.03: 1.0, 0.05: 2.0, 0.08: 4.0}, [0.02, 0.04]),
        ({0.08: 1.0, 0.01: 3.0, 0.03: 2.0}, [0.055]),
        ({0.01: 1.0, 0.03: 2.0}, [0.02]),
        ({0.05: 1.0}, []),
    ],
)
def test_halfway_lie_the_values_beside_the_best(curve: dict[float, float], between: list[float]) -> None:
    assert halfway(curve) == between


def test_the_methods_own_candidates_are_refined(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The criterion is stood in for by the distance to a value between two candidates: it is found, in order, once."""
    tried: list[str] = []
    monkeypatch.setattr(verb, "train", lambda dataset, folder, *args, **more: tried.append(folder.name))
    monkeypatch.setattr(verb, "criterion", lambda folder: abs(float(folder.name.partition("=")[2]) - 0.041))
    result = find(toy, tmp_path / "run", candidates=())
    own = methods.find("gsd_net")[0].search["tau"]
    assert tried == [*(f"tau={value:g}" for value in own), "tau=0.04", "tau=0.065"]
    assert result.word == "method.tau=0.04"
    assert [value for value, _ in result.curve] == sorted([*own, 0.04, 0.065])
    tried.clear()
    assert find(toy, tmp_path / "again").best == 0.05
    assert tried == ["tau=0.05", "tau=0.2"], "what is given is all that is tried"


def test_a_finished_candidate_is_not_trained_again(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = find(toy, tmp_path / "run")
    finished = []
    train = verb.train
    monkeypatch.setattr(verb, "train", lambda *args, **more: finished.append(train(*args, **more).complete))
    more = find(toy, tmp_path / "run", candidates=(0.05, 0.1, 0.2))
    assert finished == [True, False, True]
    assert set(done.curve) < set(more.curve)


def test_from_the_command_line(toy: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    line = ["train", str(toy), "--method", "gsd_net", "-o", str(run), "--device", "cpu", *WORDS, "--search", "tau"]
    line += ["--candidates", "0.05,0.2", "--search-epochs", "1", "train.log_every=1"]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 0, result.output
    best = float(result.output.split("method.tau=")[1].split()[0])
    assert best in (0.05, 0.2)
    assert f"tau: {best}" in (run / "config.yaml").read_text()
    assert all("search" not in event for event in read_events(run, "train"))
    assert "nothing to do" in CliRunner().invoke(app, [*line, "--resume"]).output
    again = CliRunner().invoke(app, line)
    assert again.exit_code == 2
    assert "continue it with --resume" in again.stderr


@pytest.mark.parametrize(
    ("method", "parameter", "sentence"),
    [
        ("gsd_net", "jitter", "method 'gsd_net' has no search for 'jitter'; it can search for tau."),
        ("supervised", "tau", "method 'supervised' has no search for 'tau'; it can search for none."),
    ],
)
def test_what_cannot_be_searched(method: str, parameter: str, sentence: str, toy: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        search(toy, tmp_path / "run", parameter, method)
    assert str(error.value) == sentence
    assert not (tmp_path / "run").exists()


def test_a_wrong_candidate_is_refused_before_any_training(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"method\.tau=1\.5"):
        find(toy, tmp_path / "run", candidates=(0.05, 1.5))
    assert not (tmp_path / "run").exists()
    said = CliRunner().invoke(app, ["train", str(toy), "-o", "run", "--search", "tau", "--candidates", "low"]).stderr
    assert said == "error: cannot read 'low': write numbers between commas, as in 0.02,0.05,0.1.\n"


@pytest.mark.parametrize("name", methods.names())
def test_what_is_searchable_is_a_parameter(name: str) -> None:
    cls, settings = methods.find(name)
    assert cls.search.keys() <= settings.model_fields.keys()
    for parameter, candidates in cls.search.items():
        assert len(candidates) > 2
        for value in candidates:
            settings(**{parameter: value})
