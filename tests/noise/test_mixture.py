"""Which of several ways a case goes wrong in, and that it is all of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from maskmend.data.formats import read_label
from maskmend.data.phantom import write_phantom
from maskmend.errors import InputError
from maskmend.functional.rng import case_rng
from maskmend.noise import build, corrupt, make
from maskmend.noise.mixture import Mixture
from maskmend.runs.simulate import simulate

WAYS = [{"noise": "missing"}, {"noise": "markov", "parameters": {"steps": 8}}, {"noise": "missing"}]


def test_ways_are_as_likely_as_they_are_often() -> None:
    mixture, rng = build(Mixture, {"ways": WAYS}), np.random.default_rng(0)
    asked = [mixture.choose(rng).name for _ in range(600)]
    assert 340 < asked.count("missing") < 460


@pytest.mark.parametrize(("dims", "size"), [(2, 32), (3, 16)])
def test_a_case_is_spoilt_by_the_noise_that_was_drawn(dims: int, size: int, tmp_path: Path) -> None:
    write_phantom(tmp_path / "right", dims, train=12, test=0, size=size)  # type: ignore[arg-type]
    simulate(tmp_path / "right", tmp_path / "mixed", "mixture", {"ways": WAYS}, fraction=0.5, seed=3)
    cases = json.loads((tmp_path / "mixed/noise.json").read_text())["cases"]
    done = {name: case["done"]["noise"] for name, case in cases.items() if case["corrupted"]}
    assert len(done) == 6
    assert set(done.values()) == {"missing", "markov"}
    for path in sorted((tmp_path / "mixed/labelsTr").iterdir()):
        name = path.name.split(".")[0]
        truth, rng = read_label(tmp_path / "right/labelsTr" / path.name), case_rng(3, name)
        rng.random()  # which way
        parameters = {"steps": 8} if done.get(name) == "markov" else {}
        spacing_mm = truth.geometry.spacing_mm
        wanted = corrupt(truth.array, make(done[name], parameters), rng, spacing_mm) if name in done else truth.array
        assert np.array_equal(read_label(path).array, wanted)


@pytest.mark.parametrize(
    ("ways", "sentence"),
    [
        ([{"noise": "markow"}], "ways[0] of the noise 'mixture': there is no noise called 'markow'; did you mean"),
        (
            [WAYS[0], {"noise": "markov", "parameters": {"step": 1}}],
            "ways[1] of the noise 'mixture': the noise 'markov'",
        ),
        ([], "ways"),
    ],
)
def test_a_wrong_way_is_named(ways: list[dict[str, str]], sentence: str) -> None:
    with pytest.raises(InputError) as error:
        build(Mixture, {"ways": ways})
    assert sentence in str(error.value)
