"""What a plan says, what it must not say, and what each run is made of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from maskmend.bench.check import check
from maskmend.bench.data import check_data
from maskmend.bench.plan import BenchPlan, load_plan, reported_cells, settings
from maskmend.data.phantom import write_phantom
from maskmend.errors import InputError

ROOT = Path(__file__).parents[2]
GRID: dict[str, Any] = {
    "datasets": {"disks": {"phantom": {"train": 4, "test": 2, "size": 32}}},
    "noises": {"S_R": {"noise": "markov", "parameters": {"steps": 5}}},
    "methods": {"truth": None, "supervised": None},
}


def plan_of(folder: Path, **changes: Any) -> BenchPlan:
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(GRID | changes, sort_keys=False))
    return load_plan(path)


def check_all(folder: Path, **changes: Any) -> None:
    plan = plan_of(folder, **changes)
    check(plan)
    check_data(plan)


def refused(folder: Path, **changes: Any) -> str:
    """The sentence, which begins with the file."""
    with pytest.raises(InputError) as error:
        check_all(folder, **changes)
    assert str(error.value).startswith(f"{folder / 'plan.yaml'}: ")
    return str(error.value).removeprefix(f"{folder / 'plan.yaml'}: ")


def test_names_alone_stand_for_what_they_name(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        datasets={"lungs": "~/lungs"},
        methods=["truth", "gsd_net"],
        networks=["unet", "vnet"],
        noises={"none": None, "S_R": "markov"},
    )
    assert plan.datasets["lungs"].path == "~/lungs"
    assert (plan.methods["truth"].method, plan.methods["truth"].labels) == ("supervised", "truth")
    assert plan.methods["gsd_net"].method == "gsd_net"
    assert plan.networks["vnet"].words == ("network.name=vnet",)
    assert plan.noises["none"] is None
    assert plan.noises["S_R"].noise == "markov"


def test_what_all_share_is_stronger_than_a_preset_and_weaker_than_the_row(tmp_path: Path) -> None:
    row = {"preset": "gsd_net/paper.yaml", "method": "gsd_net", "words": ["optim.momentum=0.5"]}
    (tmp_path / "configs" / "gsd_net").mkdir(parents=True)
    text = "method: {name: gsd_net, tau: 0.3}\noptim: {lr: 0.5, momentum: 0.1, weight_decay: 0.2}\n"
    (tmp_path / "configs" / "gsd_net" / "paper.yaml").write_text(text)
    data = GRID["datasets"]["disks"] | {"words": ["data.size=[32,32]"]}
    plan = plan_of(
        tmp_path,
        datasets={"disks": data},
        methods={"gsd": row | {"words_on": {"disks": ["method.weight_cap=3"]}}},
        networks={"small": ["network.width=4"]},
        words=["optim.lr=0.05", "optim.momentum=0.2"],
        budget={"epochs": 7, "steps": 3, "rows": 8},
    )
    run, words = settings(plan, ("disks", "gsd", "small"), seed=4, tau="method.tau=0.07")
    assert (run.optim.weight_decay, run.optim.lr, run.optim.momentum) == (0.2, 0.05, 0.5)
    assert (run.method["tau"], run.method["weight_cap"]) == (0.07, 3)
    assert (run.seed, run.fold, run.train.epochs, run.train.steps, run.train.batch) == (4, "all", 7, 3, {"any": 8})
    assert (run.data.size, run.network.width) == ((32, 32), 4)
    assert words[-1] == "method.weight_cap=3"


def test_rows_are_dealt_to_clean_and_noisy_cases_where_both_are_given(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, methods=["mlb_seg", "supervised"], budget={"rows": 8}, clean=0.3)
    assert settings(plan, ("disks", "mlb_seg", "unet"), 0)[0].train.batch == {"clean": 2, "imperfect": 6}
    assert settings(plan, ("disks", "supervised", "unet"), 0)[0].train.batch == {"any": 8}


def test_a_noise_may_be_another_on_a_data_set(tmp_path: Path) -> None:
    data = GRID["datasets"]["disks"]
    plan = plan_of(tmp_path, datasets={"a": data, "b": data | {"noises": {"S_R": {"steps": 2}}}})
    check(plan)
    assert [plan.noise_on(name, "S_R").parameters for name in "ab"] == [{"steps": 5}, {"steps": 2}]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"noise": {}}, "unknown setting noise; did you mean noises?"),
        ({"budget": {"epoch": 3}}, "unknown setting budget.epoch; did you mean budget.epochs?"),
        ({"budget": {"epochs": 0}}, "budget.epochs=0: it should be greater than 0."),
        ({"methods": ["gsd_nett"]}, "methods.gsd_nett: unknown method 'gsd_nett'; did you mean 'gsd_net'?"),
        ({"methods": {"a": {"metod": "x"}}}, "unknown setting methods.a.metod; did you mean methods.a.method?"),
        (
            {"methods": {"a": {"method": "gsd_net", "words": ["method.tua=1"]}}},
            "methods.a: unknown setting method.tua; did you mean method.tau?",
        ),
        ({"methods": {"supervised": {"datasets": ["disk"]}}}, "methods.supervised.datasets names 'disk'"),
        ({"words": ["optim.lr=-1"]}, "methods.truth: optim.lr=-1"),
        ({"networks": ["unett"]}, "methods.truth: unknown network 'unett' in network.name; did you mean 'unet'?"),
        ({"noises": {"S": "markow"}}, "noises.S: there is no noise called 'markow'; did you mean 'markov'?"),
        (
            {"noises": {"S": {"noise": "markov", "parameters": {"step": 1}}}},
            "noises.S: the noise 'markov' has no parameter 'step'; did you mean 'steps'?",
        ),
        ({"noises": {"none": "markov"}}, "the noise 'none' is where no noise is"),
        ({"datasets": {}}, "datasets must hold at least one"),
        ({"datasets": {"a/b": "x"}}, "datasets: 'a/b' cannot name a folder"),
        ({"datasets": {"a": {}}}, "datasets.a needs a path or a phantom"),
        ({"datasets": {"a": "$NOWHERE_TO_BE/found"}}, "needs the environment variable NOWHERE_TO_BE"),
        ({"methods": ["mlb_seg"]}, "methods.mlb_seg: mlb_seg needs clean cases and disks has none; set clean: 0.1"),
        ({"methods": {"a": {"preset": "no/where"}}}, "methods.a: there is no preset 'no/where'; name a YAML file."),
        ({"clean": 0.9}, "datasets.disks: clean=0.9 leaves none of its 4 cases noisy"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    assert sentence in refused(tmp_path, **changes)
    assert [path.name for path in tmp_path.iterdir()] == ["plan.yaml"]


def test_a_preset_that_is_not_there_is_named_with_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "configs" / "gsd_net").mkdir(parents=True)
    (tmp_path / "configs" / "gsd_net" / "paper.yaml").write_text("{}")
    said = refused(tmp_path, methods={"gsd_net": "gsd_net/papper.yaml"})
    assert said == "methods.gsd_net: there is no preset 'gsd_net/papper.yaml'; did you mean gsd_net/paper.yaml?"


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere is not a folder"):
        check_data(plan_of(tmp_path, datasets={"a": "nowhere"}))


def test_there_must_be_true_masks_to_measure_on(tmp_path: Path) -> None:
    write_phantom(tmp_path / "set", train=4, test=0, size=32)
    with pytest.raises(InputError, match=r"has no test cases with true masks; add them, or name folds: \[0\]"):
        check_data(plan_of(tmp_path, datasets={"a": "set"}))
    check_data(plan_of(tmp_path, datasets={"a": {"path": "set", "folds": [0]}}))


def test_a_row_may_take_its_method_from_its_preset(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("method: {name: mlb_seg}\n")
    plan = plan_of(tmp_path, methods={"mlb_paper": "mine.yaml"})
    assert plan.methods["mlb_paper"].method == "mlb_seg"
    assert plan.methods["mlb_paper"].given() == "given_and_clean"


@pytest.mark.parametrize("file", sorted((ROOT / "plans").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_plans_that_come_along_are_sound(file: Path) -> None:
    plan = load_plan(file)
    check(plan)
    assert plan.methods["truth"].given() == "truth"


def test_the_plan_in_the_documentation_is_sound(tmp_path: Path) -> None:
    (text,) = re.findall(
        r"```yaml\n(.*?)```", (ROOT / "docs/how-to/bench.md").read_text(encoding="utf-8"), flags=re.DOTALL
    )
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "plan.yaml").write_text(text)
    plan = load_plan(tmp_path / "plan.yaml")
    check(plan)
    assert plan.methods["mlb_seg"].given() == "given_and_clean"


def test_metrics_are_known_and_dice_is_among_them(tmp_path: Path) -> None:
    assert "metrics names 'HD59', which the plan has not; did you mean HD95?" in refused(
        tmp_path, metrics=["Dice", "HD59"]
    )
    assert "metrics must hold Dice" in refused(tmp_path, metrics=["HD95"])


def test_numbers_of_papers_are_found_before_anything_runs(tmp_path: Path) -> None:
    data = {"disks": GRID["datasets"]["disks"] | {"reported": "Kvasir"}}
    paper = {"paper": "GSD-Net", "table": "4"}
    plan = plan_of(tmp_path, datasets=data, reported=paper)
    check(plan)
    assert reported_cells(plan)["disks", "S_R"] == [{**paper, "dataset": "Kvasir", "noise_setting": "S_R"}]
    wrong = {"disks": GRID["datasets"]["disks"] | {"reported": "Kvazir"}}
    assert "no paper's dataset is 'Kvazir'; did you mean 'Kvasir'?" in refused(tmp_path, datasets=wrong, reported=paper)
    assert "there is no tabel" in refused(tmp_path, reported={"tabel": "4"})
    strange = {"supervised": {"reported": "mtcl_fs"}}
    assert "no paper's method_key is 'mtcl_fs'" in refused(tmp_path, datasets=data, methods=strange, reported=paper)


def test_a_data_set_may_have_a_budget_of_its_own(tmp_path: Path) -> None:
    own = {"disks": GRID["datasets"]["disks"] | {"budget": {"rows": 2}}, "rest": GRID["datasets"]["disks"]}
    plan = plan_of(tmp_path, datasets=own, budget={"epochs": 3, "rows": 8, "steps": 5})
    found = {name: settings(plan, (name, "supervised", "unet"), 0)[0].train for name in own}
    assert (found["disks"].batch, found["disks"].epochs, found["disks"].steps) == ({"any": 2}, 3, 5)
    assert found["rest"].batch == {"any": 8}
    wrong = {"disks": GRID["datasets"]["disks"] | {"budget": {"row": 2}}}
    assert "datasets.disks.budget.row; did you mean" in refused(tmp_path, datasets=wrong)


def test_words_may_be_for_a_data_set_a_noise_or_one_on_the_other(tmp_path: Path) -> None:
    on = {"disks": ["method.tau=0.1"], "S_R": ["method.jitter=0.2"], "disks/S_E": ["method.tau=0.3"]}
    noises = GRID["noises"] | {"S_E": "missing"}
    plan = plan_of(tmp_path, methods={"gsd_net": {"words_on": on}}, noises=noises)
    check(plan)
    row = ("disks", "gsd_net", "unet")
    found = [settings(plan, row, 0, tau="method.tau=0.7", noise=noise)[0].method for noise in ("S_R", "S_E", "none")]
    assert [(own["tau"], own["jitter"]) for own in found] == [(0.1, 0.2), (0.3, found[2]["jitter"]), (0.1, 0.5)]
    wrong = {"gsd_net": {"words_on": {"disks/S_Q": []}}}
    assert "words_on names 'disks/S_Q'" in refused(tmp_path, methods=wrong, noises=noises)
    bad = {"gsd_net": {"words_on": {"S_E": ["method.tua=1"]}}}
    assert "did you mean method.tau?" in refused(tmp_path, methods=bad, noises=noises)


def test_a_preset_is_found_from_a_folder_of_plans(tmp_path: Path) -> None:
    (tmp_path / "configs" / "mine").mkdir(parents=True)
    (tmp_path / "configs" / "mine" / "a.yaml").write_text("method: {name: gsd_net, tau: 0.3}\n")
    folder = tmp_path / "plans" / "paper"
    folder.mkdir(parents=True)
    plan = plan_of(folder, methods={"a": "mine/a.yaml"})
    assert settings(plan, ("disks", "a", "unet"), 0)[0].method["tau"] == 0.3


def test_numbers_of_papers_may_be_told_by_their_fields(tmp_path: Path) -> None:
    disks = GRID["datasets"]["disks"]
    data = {"lung": disks | {"reported": {"dataset": "JSRT", "structure": "lung"}}}
    noise = GRID["noises"]["S_R"] | {"reported": {"noise_setting": "original labels"}}
    plan = plan_of(tmp_path, datasets=data, noises={"a": noise}, reported={"paper": "SP-Guided", "table": "S3"})
    check(plan)
    (found,) = reported_cells(plan)["lung", "a"]
    assert {"dataset": "JSRT", "structure": "lung", "noise_setting": "original labels"}.items() <= found.items()
    wrong = {"lung": disks | {"reported": {"dataset": "JSRT", "structure": "lunge"}}}
    assert "no paper's structure is 'lunge'; did you mean 'lung'?" in refused(tmp_path, datasets=wrong)
    assert "there is no organ" in refused(tmp_path, datasets={"lung": disks | {"reported": {"organ": "lung"}}})
    apart = {"lung": disks | {"reported": {"dataset": "ISIC2017", "structure": "lung"}}}
    assert "no paper has a number of all of" in refused(tmp_path, datasets=apart)


def test_what_papers_call_no_noise_may_be_said(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, noises={"none": {"reported": "original labels"}}, reported={"paper": "SP-Guided"})
    check(plan)
    assert reported_cells(plan)["disks", "none"][0]["noise_setting"] == "original labels"
    assert "the noise 'none' is where no noise is" in refused(tmp_path, noises={"none": {"unlabeled": 0.5}})
