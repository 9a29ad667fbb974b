"""The plans of the papers' tables: they can run, are as large as they say, and have the papers' numbers beside ours."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from maskmend.bench import reported
from maskmend.bench.check import check
from maskmend.bench.keys import _deal, _noises
from maskmend.bench.marks import REPORTED_AS
from maskmend.bench.plan import BenchPlan, combinations, find_preset, load_plan, reported_cells, settings
from maskmend.bench.reported import Reported
from maskmend.config import load_config

ROOT = Path(__file__).parents[2] / "plans"
PLANS = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("*/*.yaml"))]
TABLES = [name for name in PLANS if "/figure_" not in name]
"""Those of printed numbers; what a figure draws is not printed."""
FIGURES = [name for name in PLANS if name not in TABLES]
RECIPES = {
    "isic2017", "jsrt", "kvasir_seg", "shenzhen", "bus_uc", "brats2020", "lidc", "acdc", "la2018", "nih_pancreas",
    "promise12", "mmis2024",
}  # fmt: skip
PARTS = {"jsrt_lung", "jsrt_heart", "jsrt_clavicle", "la2018_slices", "promise12_slices"}
NOT_PUBLIC = {"liver_tumour"}
"""What stands for data that only the paper's authors have; the plan says so."""


@cache
def plan_of(name: str) -> BenchPlan:
    return load_plan(ROOT / name)


def header(name: str) -> str:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))


def runs(plan: BenchPlan) -> int:
    """How many there are; runs that no noise reaches once."""
    found = set()
    for dataset, name, network in combinations(plan):
        method = plan.methods[name]
        for noise in _noises(plan, method, dataset):
            deal = _deal(plan, plan.datasets[dataset], method, noise, None)
            spoilt = plan.noise_on(dataset, noise) if deal.labels in ("given", "given_and_clean") else None
            found.add((dataset, name, network, deal, str(spoilt and spoilt.noise and spoilt.of_masks())))
    return len(found) * len(plan.seeds)


@cache
def numbers(name: str, row: str, dataset: str, noise: str) -> list[Reported]:
    """The printed numbers that stand beside a row."""
    plan = plan_of(name)
    spec, (place,) = plan.methods[row], reported_cells(plan)[dataset, noise]
    if isinstance(spec.reported, dict):
        return reported.find(**{**place, **spec.reported})
    told = spec.reported or spec.method + REPORTED_AS.get(spec.given(), "")
    return reported.of_method(reported.find(**place), told, Path(spec.preset).stem)


def test_every_paper_has_plans() -> None:
    papers = {plan_of(name).reported["paper"] for name in PLANS}
    assert papers == reported.CAVEATS.keys()


@pytest.mark.parametrize("name", PLANS)
def test_it_can_run_without_a_word_more(name: str) -> None:
    """Every run's settings are built; a plan is found wherever one stands."""
    check(plan_of(name))
    said = header(name)
    assert "docs/how-to/public-data.md" in said or NOT_PUBLIC & set(re.findall(r"\w+", said))
    assert f"bench plans/{name} -o" in said


@pytest.mark.parametrize("name", PLANS)
def test_it_is_as_large_as_it_says(name: str) -> None:
    assert re.findall(r"Runs: (\d+)", header(name)) == [str(runs(plan_of(name)))]


@pytest.mark.parametrize("name", PLANS)
def test_its_data_have_a_recipe(name: str) -> None:
    paths = {str(spec.path) for spec in plan_of(name).datasets.values()}
    assert {path.rpartition("/")[0] for path in paths} == {"${MASKMEND_DATA}"}
    names = {path.rpartition("/")[2] for path in paths}
    assert names <= RECIPES | PARTS | NOT_PUBLIC
    assert not names & NOT_PUBLIC or "not public" in header(name)


@pytest.mark.parametrize("name", TABLES)
def test_papers_numbers_stand_beside_every_noise(name: str) -> None:
    plan = plan_of(name)
    for dataset in plan.datasets:
        for noise in plan.noises:
            rows = [row for row, method in plan.methods.items() if noise in plan.noises_of(method, dataset)]
            assert any(numbers(name, row, dataset, noise) for row in rows), (dataset, noise)


@pytest.mark.parametrize("name", FIGURES)
def test_numbers_of_a_table_stand_beside_the_points_of_a_figure_that_it_holds(name: str) -> None:
    plan = plan_of(name)
    assert "is drawn, its numbers are not printed" in header(name)
    printed = {
        dataset: [noise for noise in plan.noises if numbers(name, "gsd_net", dataset, noise)]
        for dataset in plan.datasets
    }
    ends = {"P_20", "P_80"} if "P_20" in plan.noises else plan.noises.keys()
    assert printed == dict.fromkeys(plan.datasets, sorted(ends, key=list(plan.noises).index))


def test_volumes_are_scored_where_papers_do() -> None:
    """MLB-Seg's 2D cases, and MMIS-2024, are slices; Deep Self-cleansing's patches of ACDC stay by themselves."""
    scored = {(name.split("/")[0], key): spec.volumes for name in PLANS for key, spec in plan_of(name).datasets.items()}
    assert {place for place, volumes in scored.items() if volumes} == {
        ("mlb_seg", "promise12"), ("mlb_seg", "atrium"), ("gsd_net", "mmis"),
    }  # fmt: skip
    slices = {spec.path for name in PLANS for spec in plan_of(name).datasets.values() if not spec.volumes}
    assert not any(str(path).endswith("_slices") for path in slices)


@pytest.mark.parametrize("name", TABLES)
def test_every_row_of_the_table_is_a_row_or_said_to_be_left_out(name: str) -> None:
    plan = plan_of(name)
    shown = {
        (cell.method, cell.dataset, cell.noise_setting)
        for dataset, row, _ in combinations(plan)
        for noise in _noises(plan, plan.methods[row], dataset)
        for cell in numbers(name, row, dataset, noise)
    }
    datasets = {query["dataset"] for queries in reported_cells(plan).values() for query in queries}
    printed = {(c.method, c.dataset, c.noise_setting) for c in reported.find(**plan.reported) if c.dataset in datasets}
    left_out = "".join(re.findall(r"Rows [^:]*need no run: .*", header(name))).casefold()
    missing = {place for place in printed - shown if place[0].split()[0].casefold() not in left_out}
    assert not missing


@pytest.mark.parametrize("name", PLANS)
def test_presets_keep_what_the_paper_says(name: str) -> None:
    """What all rows share does not change a paper's own method, but where the row or the data set says so."""
    plan = plan_of(name)
    for dataset, row, network in combinations(plan):
        spec = plan.methods[row]
        if not spec.preset or len(plan.networks) > 1 or plan.datasets[dataset].budget:
            continue
        alone = load_config(find_preset(plan, spec.preset), spec.method)
        run, _ = settings(plan, (dataset, row, network), 0, noise=next(iter(plan.noises)))
        own = " ".join(spec.words)
        assert run.network.name == alone.network.name or "network.name" in own
        assert (run.train.epochs, run.train.batch) == (alone.train.epochs, alone.train.batch)
        for key in ("name", "lr", "momentum", "weight_decay"):
            assert getattr(run.optim, key) == getattr(alone.optim, key), key
