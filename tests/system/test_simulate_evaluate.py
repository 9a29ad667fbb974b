"""`simulate` and `evaluate` on whole data sets: what they write, what they leave alone, and what they refuse."""

from __future__ import annotations

import hashlib
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from maskmend.cli import app
from maskmend.errors import InputError
from maskmend.noise import apply, corrupt, make
from maskmend.runs.corruption import KINDS, case_rng
from maskmend.verbs.evaluate import evaluate
from maskmend.verbs.simulate import simulate

LABELS = {"background": 0, "organ": 1, "lesion": 2, "ignore": 3}
MILD = {"steps": 30, "preference": 0.7}


def draw(number, side=48):
    """An organ with a lesion in it; one corner that nobody annotated."""
    rows, columns = np.mgrid[:side, :side] - side / 2 + number
    label = np.zeros((side, side), np.uint8)
    label[rows**2 + columns**2 < 15**2] = 1
    label[rows**2 + columns**2 < 6**2] = 2
    label[:5, :5] = 3
    return label


def write_png_set(root, train=("a", "b", "c", "d"), test=("t",)):
    for split, names in (("Tr", train), ("Ts", test)):
        for folder in (f"images{split}", f"labels{split}"):
            (root / folder).mkdir(parents=True)
        for number, name in enumerate(names):
            label = draw(number)
            Image.fromarray(label * 60).save(root / f"images{split}" / f"{name}_0000.png")
            Image.fromarray(label).save(root / f"labels{split}" / f"{name}.png")
    about = {"channel_names": {"0": "photo"}, "labels": LABELS, "numTraining": len(train), "file_ending": ".png"}
    (root / "dataset.json").write_text(json.dumps(about))
    return root


@pytest.fixture
def dataset(tmp_path):
    root = write_png_set(tmp_path / "Dataset001_Toy")
    (root / "splits_final.json").write_text(json.dumps([{"train": ["a", "b"], "val": ["c", "d"]}]))
    return root


def content(root):
    """Every file of a folder with its bytes, as digests."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read(path):
    return np.asarray(Image.open(path))


def test_writes_a_whole_data_set_and_leaves_the_source_alone(dataset, tmp_path):
    before = content(dataset)
    summary = simulate(dataset, tmp_path / "noisy", "markov", MILD, seed=3)
    assert content(dataset) == before
    after = content(tmp_path / "noisy")
    same = {name for name in before if not name.startswith("labelsTr/") and name != "dataset.json"}
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    for name in "abcd":
        assert after[f"labelsTr_truth/{name}.png"] == before[f"labelsTr/{name}.png"]
        assert after[f"labelsTr/{name}.png"] != before[f"labelsTr/{name}.png"]
        worse, truth = read(tmp_path / f"noisy/labelsTr/{name}.png"), read(dataset / f"labelsTr/{name}.png")
        assert ((worse == 3) == (truth == 3)).all()
    assert json.loads((tmp_path / "noisy/dataset.json").read_text())["labels"] == LABELS
    assert summary.corrupted == ("a", "b", "c", "d")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Dataset001_Toy", "noisy"]
    assert (tmp_path / "noisy/imagesTr/a_0000.png").samefile(dataset / "imagesTr/a_0000.png")


def test_the_manifest_tells_the_truth(dataset, tmp_path):
    simulate(dataset, tmp_path / "noisy", "markov", MILD, fraction=0.5, seed=1)
    manifest = json.loads((tmp_path / "noisy/noise.json").read_text())
    found = evaluate(tmp_path / "noisy/labelsTr", tmp_path / "noisy/labelsTr_truth", tmp_path / "summary.json")
    assert manifest["parameters"] == make("markov", MILD).model_dump()
    assert (manifest["noise"], manifest["seed"], manifest["fraction"]) == ("markov", 1, 0.5)
    for case in found.cases:
        told = manifest["cases"][case.name]
        assert told["dice"] == {"organ": case.metrics(1)["Dice"], "lesion": case.metrics(2)["Dice"]}
        assert told["dice_mean"] == pytest.approx(found.case_means()[case.name])
        assert told["corrupted"] == (told["dice_mean"] < 1)
        assert told["size_ratio"]["lesion"] == case.metrics(2)["n_pred"] / case.metrics(2)["n_ref"]
    assert manifest["dice_mean"] == pytest.approx(np.mean(list(found.case_means().values())))
    assert sum(case["corrupted"] for case in manifest["cases"].values()) == 2


def test_the_manifest_suffices_to_do_it_again(dataset, tmp_path):
    simulate(dataset, tmp_path / "noisy", "sp_guided", seed=1)
    manifest = json.loads((tmp_path / "noisy/noise.json").read_text())
    noise = make(manifest["noise"], manifest["parameters"])
    for name, case in manifest["cases"].items():
        truth = read(dataset / f"labelsTr/{name}.png").astype(int)
        truth[truth == LABELS["ignore"]] = -1
        done = {LABELS[word]: drawn for word, drawn in case["done"].items()}
        assert {drawn["kind"] for drawn in done.values()} <= {"dilate", "erode", "affine"}
        again = apply(truth, noise, done)
        assert (np.where(again == -1, LABELS["ignore"], again) == read(tmp_path / f"noisy/labelsTr/{name}.png")).all()


@pytest.mark.parametrize("target", [0.7, 0.85])
def test_reaches_a_target_dice(dataset, tmp_path, target):
    summary = simulate(dataset, tmp_path / "noisy", "markov", MILD, fraction=0.75, seed=1, target_dice=target)
    manifest = json.loads((tmp_path / "noisy/noise.json").read_text())
    left = [case["dice_mean"] for case in manifest["cases"].values() if case["corrupted"]]
    assert len(left) == 3
    assert manifest["dice_mean_corrupted"] == pytest.approx(np.mean(left))
    assert manifest["dice_mean_corrupted"] == pytest.approx(target, abs=0.01)
    assert summary.dice_corrupted()[0] == manifest["dice_mean_corrupted"]
    assert manifest["target_dice"] == target
    assert manifest["strength"] == {"steps": manifest["parameters"]["steps"]} != {"steps": 30}
    again = simulate(dataset, tmp_path / "again", "markov", manifest["parameters"], fraction=0.75, seed=1)
    assert again.dice_corrupted() == summary.dice_corrupted()


def test_the_target_is_told_on_the_command_line(dataset, tmp_path):
    line = f"simulate {dataset} -o {tmp_path / 'noisy'} --noise markov steps=20 --target-dice 0.8"
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code == 0
    assert re.search(r"^steps=\d+ leaves 0\.(79|80|81)\d on the corrupted ones\.$", result.output, re.MULTILINE)


def test_the_help_names_every_noise():
    text = CliRunner().invoke(app, ["simulate", "--help"], env={"COLUMNS": "200"}).output
    assert all(re.search(rf"\b{name}\b", text) for name in KINDS)


@pytest.fixture
def rated(dataset):
    """What two raters drew of every case: one has no lesions, the other no organs."""
    for name in "abcd":
        for rater, values in (("anna", (0, 1, 0, 3)), ("bert", (0, 0, 2, 0))):
            (dataset / "labelsTr_raters" / rater).mkdir(parents=True, exist_ok=True)
            drawn = np.array(values, np.uint8)[read(dataset / f"labelsTr/{name}.png")]
            Image.fromarray(drawn).save(dataset / f"labelsTr_raters/{rater}/{name}.png")
    return dataset


@pytest.mark.parametrize("moved", [False, True])
def test_takes_the_label_of_a_rater(rated, tmp_path, moved):
    parameters = {"turn": "cycle"}
    if moved:
        (rated / "labelsTr_raters").rename(tmp_path / "drawn")
        parameters["raters"] = tmp_path / "drawn"
    simulate(rated, tmp_path / "noisy", "random_rater", parameters, fraction=0.75, seed=2)
    manifest = json.loads((tmp_path / "noisy/noise.json").read_text())
    raters = parameters.get("raters", rated / "labelsTr_raters")
    assert sum(case["corrupted"] for case in manifest["cases"].values()) == 3
    for (name, case), rater in zip(manifest["cases"].items(), ["anna", "bert", "anna", "bert"], strict=True):
        truth, worse = read(rated / f"labelsTr/{name}.png"), read(tmp_path / f"noisy/labelsTr/{name}.png")
        assert case["done"] == ({"rater": rater} if case["corrupted"] else {})
        drawn = read(raters / rater / f"{name}.png") if case["corrupted"] else truth
        assert (worse == np.where(truth == LABELS["ignore"], LABELS["ignore"], drawn)).all()


def test_any_rater_may_be_next(rated, tmp_path):
    asked = set()
    for seed in range(4):
        summary = simulate(rated, tmp_path / f"{seed}", "random_rater", seed=seed)
        asked.add("".join(case.done["rater"][0] for case in summary.cases))
    assert len(asked) > 1
    assert set("".join(asked)) == {"a", "b"}


def test_it_may_always_be_the_same_rater(rated, tmp_path):
    summary = simulate(rated, tmp_path / "bert", "random_rater", {"only": "bert"})
    assert {case.done["rater"] for case in summary.cases} == {"bert"}
    with pytest.raises(InputError, match="holds no rater 'carl'; only= may be anna, bert"):
        simulate(rated, tmp_path / "carl", "random_rater", {"only": "carl"})


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda raters: shutil.rmtree(raters), r"labelsTr_raters holds no rater's labels; .*RATER/CASE\.png"),
        (lambda raters: [path.unlink() for path in raters.glob("*/c.png")], "holds no label of case c; add"),
        (lambda raters: shutil.copy(raters / "anna/a.png", raters / "anna/aa.png"), r"aa\.png is a label of no"),
        (lambda raters: Image.new("L", (48, 40)).save(raters / "anna/a.png"), r"shape \(40, 48\).* has \(48, 48\)"),
        (lambda raters: Image.new("L", (48, 48), 9).save(raters / "anna/a.png"), "holds the value 9"),
    ],
)
def test_labels_of_raters_that_do_not_fit(rated, tmp_path, break_it, message):
    break_it(rated / "labelsTr_raters")
    with pytest.raises(InputError, match=message):
        simulate(rated, tmp_path / "noisy", "random_rater", {"turn": "cycle"})
    assert not (tmp_path / "noisy").exists()


def test_a_case_depends_on_the_seed_and_its_name_alone(dataset, tmp_path):
    simulate(dataset, tmp_path / "all", "markov", MILD, seed=5)
    simulate(dataset, tmp_path / "again", "markov", MILD, seed=5)
    simulate(dataset, tmp_path / "other", "markov", MILD, seed=6)
    fewer = write_png_set(tmp_path / "fewer", train=("a", "b"))
    simulate(fewer, tmp_path / "alone", "markov", MILD, seed=5)
    everything = content(tmp_path / "all")
    assert everything == content(tmp_path / "again")
    assert everything["labelsTr/b.png"] == content(tmp_path / "alone")["labelsTr/b.png"]
    assert everything["labelsTr/b.png"] != content(tmp_path / "other")["labelsTr/b.png"]


def test_a_larger_fraction_corrupts_the_same_and_more(dataset, tmp_path):
    shares = {f: simulate(dataset, tmp_path / f"{f}", "markov", MILD, fraction=f, seed=2) for f in (0, 0.25, 0.75)}
    assert [len(summary.corrupted) for summary in shares.values()] == [0, 1, 3]
    assert set(shares[0.25].corrupted) < set(shares[0.75].corrupted)
    for name in shares[0.25].corrupted:
        few, many = (read(tmp_path / f"{share}/labelsTr/{name}.png") for share in (0.25, 0.75))
        assert (few == many).all()


def test_nothing_that_training_reads_tells_corrupted_from_untouched(dataset, tmp_path):
    simulate(dataset, tmp_path / "noisy", "markov", MILD, fraction=0.5)
    assert not (tmp_path / "noisy/supervision.csv").exists()


def test_labels_called_clean_stay_clean(dataset, tmp_path):
    (dataset / "supervision.csv").write_text("case,supervision\na,clean\nb,noisy\nc,noisy\nd,noisy\n")
    summary = simulate(dataset, tmp_path / "noisy", "dilate_erode", {"low": 1, "high": 3}, seed=1)
    assert summary.corrupted == ("b", "c", "d")
    assert read(tmp_path / "noisy/labelsTr/a.png").tolist() == read(dataset / "labelsTr/a.png").tolist()
    assert (tmp_path / "noisy/supervision.csv").read_text() == (dataset / "supervision.csv").read_text()


def test_volumes_keep_their_geometry(tmp_path):
    import SimpleITK as sitk

    root, rows = tmp_path / "Dataset002_Ball", np.mgrid[:12, :16, :20]
    label = (((rows - np.array([6, 8, 10]).reshape(3, 1, 1, 1)) ** 2).sum(0) < 25).astype(np.uint8)
    for folder, name in (("imagesTr", "x_0000"), ("labelsTr", "x")):
        (root / folder).mkdir(parents=True)
        picture = sitk.GetImageFromArray(label)
        picture.SetSpacing((0.5, 1.0, 2.0))
        picture.SetOrigin((3.0, -4.0, 5.0))
        sitk.WriteImage(picture, str(root / folder / f"{name}.nii.gz"))
    about = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "ball": 1}, "numTraining": 1}
    (root / "dataset.json").write_text(json.dumps(about | {"file_ending": ".nii.gz"}))
    parameters = {"low": 2, "high": 2, "unit": "mm"}
    simulate(root, tmp_path / "noisy", "dilate_erode", parameters, seed=4)
    worse = sitk.ReadImage(str(tmp_path / "noisy/labelsTr/x.nii.gz"))
    assert worse.GetSpacing() == (0.5, 1.0, 2.0)
    assert worse.GetOrigin() == (3.0, -4.0, 5.0)
    expected = corrupt(label, make("dilate_erode", parameters), case_rng(4, "x"), (2.0, 1.0, 0.5))
    assert (sitk.GetArrayFromImage(worse) == expected).all()
    assert (expected != label).any()


def test_the_spacing_of_a_tiff_stays_beside_it(tmp_path):
    import tifffile

    root = tmp_path / "Dataset003_Tiff"
    for folder, name in (("imagesTr", "x_0000"), ("imagesTr", "x_0001"), ("labelsTr", "x")):
        (root / folder).mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(root / folder / f"{name}.tif", np.repeat((draw(0) == 1)[None].astype(np.uint8), 6, axis=0))
        (root / folder / "x.json").write_text('{"spacing": [3.0, 1.0, 1.0]}')
    about = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "organ": 1}, "numTraining": 1}
    (root / "dataset.json").write_text(json.dumps(about | {"file_ending": ".tif"}))
    simulate(root, tmp_path / "noisy", "dilate_erode", {"low": 2, "high": 2, "unit": "mm"})
    for folder in ("imagesTr", "labelsTr", "labelsTr_truth"):
        assert json.loads((tmp_path / "noisy" / folder / "x.json").read_text())["spacing"] == [3, 1, 1]
    assert (tifffile.imread(tmp_path / "noisy/labelsTr/x.tif") != tifffile.imread(root / "labelsTr/x.tif")).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fraction": 1.5}, "fraction 1.5"),
        ({"seed": -1}, "seed -1"),
        ({"noise": "markof"}, "did you mean 'markov'"),
        ({"parameters": {"stepp": 2}}, "did you mean 'steps'"),
        ({"noise": "random_raters"}, "did you mean 'random_rater'"),
        ({"target_dice": 70}, "target Dice 70 is not between 0 and 1"),
        ({"target_dice": 0.7, "fraction": 0}, r"no case is corrupted, .* Dice of 0\.7; raise the fraction"),
    ],
)
def test_wrong_arguments(dataset, tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        simulate(dataset, tmp_path / "noisy", **{"noise": "markov", **arguments})
    assert not (tmp_path / "noisy").exists()


def test_of_a_target_out_of_reach_the_nearest_is_taken(dataset, tmp_path):
    with pytest.warns(UserWarning, match=r"'missing' leaves a Dice from 0\.000 \(chance=1\) to 1\.000 .* is taken\."):
        summary = simulate(dataset, tmp_path / "noisy", "missing", target_dice=0.9)
    assert abs(summary.dice_corrupted()[0] - 0.9) < 0.2


def test_refuses_what_would_overwrite_or_mislead(dataset, tmp_path):
    with pytest.raises(InputError, match="not empty"):
        simulate(dataset, dataset, "markov", MILD)
    (tmp_path / "empty").mkdir()
    simulate(dataset, tmp_path / "empty", "markov", MILD)
    with pytest.raises(InputError, match="simulated noise already"):
        simulate(tmp_path / "empty", tmp_path / "twice", "markov", MILD)
    with pytest.raises(InputError, match=r"dataset\.json"):
        simulate(tmp_path, tmp_path / "none", "markov", MILD)


def test_a_failure_half_way_leaves_nothing_behind(dataset, tmp_path):
    Image.fromarray(draw(0) * 80).save(dataset / "labelsTr/c.png")
    with pytest.raises(InputError, match=r"labelsTr/c\.png holds the value 80.*maskmend prepare"):
        simulate(dataset, tmp_path / "noisy", "markov", MILD)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Dataset001_Toy"]


def test_a_data_set_without_labels(dataset, tmp_path):
    shutil.rmtree(dataset / "labelsTr")
    (dataset / "labelsTr").mkdir()
    with pytest.raises(InputError, match="label"):
        simulate(dataset, tmp_path / "noisy", "markov", MILD)


@pytest.fixture
def folders(tmp_path):
    """Predictions of two cases, one perfect, one empty, and their references."""
    predictions, references = tmp_path / "predictions", tmp_path / "Dataset001_Toy/labelsTs"
    predictions.mkdir()
    references.mkdir(parents=True)
    (references.parent / "dataset.json").write_text(json.dumps({"labels": LABELS}))
    for name in "xy":
        Image.fromarray(draw(2)).save(references / f"{name}.png")
    Image.fromarray(np.where(draw(2) == 3, 0, draw(2)).astype(np.uint8)).save(predictions / "x.png")
    Image.fromarray(np.zeros((48, 48), np.uint8)).save(predictions / "y.bmp")
    return predictions, references


def test_evaluates_by_name_class_and_ignore_label(folders):
    summary = evaluate(*folders)
    assert dict(summary.labels) == {"organ": 1, "lesion": 2}
    assert summary.values("Dice", 1) == [1, 0]
    assert "| lesion" in summary.table()
    written = json.loads((folders[0] / "summary.json").read_text())
    assert written["mean"]["2"]["Dice"] == 0.5
    assert written["metric_per_case"][1]["prediction_file"].endswith("y.bmp")
    assert len((folders[0] / "cases.csv").read_text().splitlines()) == 5


def test_without_dataset_json_the_classes_are_those_of_the_references(folders, tmp_path):
    (folders[1].parent / "dataset.json").unlink()
    summary = evaluate(*folders, output=tmp_path / "new/summary.json")
    assert dict(summary.labels) == {"1": 1, "2": 2, "3": 3}
    assert (tmp_path / "new/cases.csv").exists()
    assert not (folders[0] / "summary.json").exists()


def test_predictions_too_few_and_too_many(folders):
    predictions, references = folders
    shutil.copy(predictions / "x.png", predictions / "z.png")
    with pytest.warns(UserWarning, match=r"1 masks without a reference, such as z"):
        evaluate(*folders)
    (predictions / "y.bmp").unlink()
    with pytest.raises(InputError, match="no prediction for y;"):
        evaluate(*folders)
    with pytest.raises(InputError, match="not a folder"):
        evaluate(predictions / "nowhere", references)
    (predictions / "nothing").mkdir()
    with pytest.raises(InputError, match="nothing holds no masks"):
        evaluate(predictions, predictions / "nothing")
    (predictions / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        evaluate(references, references, predictions / "file/summary.json")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((48, 40), np.uint8), r"x\.png has the shape \(48, 40\).*\(48, 48\)"),
        (np.full((48, 48), 255, np.uint8), r"x\.png holds the value 255"),
    ],
)
def test_predictions_that_do_not_fit(folders, array, message):
    Image.fromarray(array).save(folders[0] / "x.png")
    with pytest.raises(InputError, match=message):
        evaluate(*folders)
    assert not (folders[0] / "summary.json").exists()


def test_a_noise_that_leaves_nothing_is_told(dataset, tmp_path):
    with pytest.warns(UserWarning, match=r"left nothing of 4 of 4 masks; weaken it, or give --target-dice"):
        simulate(dataset, tmp_path / "noisy", "missing")
