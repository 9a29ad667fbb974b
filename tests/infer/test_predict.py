from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch
from PIL import Image
from torch import Tensor, nn

from maskmend.data.formats import Geometry, read_label, write_image
from maskmend.data.normalisation import Normalisation
from maskmend.data.plan import Plan
from maskmend.data.sidemaps import SideMapConfig
from maskmend.errors import InputError
from maskmend.infer import predict
from maskmend.infer.predict import PredictConfig, _mirrors, check_precision, predict_batch, predict_case, predict_files
from maskmend.methods import find
from maskmend.networks import NetworkConfig, build

CPU = torch.device("cpu")
EXACT = PredictConfig(precision="fp32")


def plan_of(patch: tuple[int, ...], channels: int = 1, classes: int = 2, **more: object) -> Plan:
    settings = {
        "dims": len(patch),
        "channel_names": tuple(f"channel{c}" for c in range(channels)),
        "classes": classes,
        "labels": {"background": 0} | {f"part{k}": k for k in range(1, classes)},
        "size": None,
        "spacing_mm": None,
        "patch": patch,
        "normalisation": (Normalisation(scheme="none"),) * channels,
        "foreground": 0.3,
        "sidemaps": SideMapConfig(),
        "multiple": (16,) * len(patch),
    }
    return Plan(**settings | more)


def pixelwise(image: Tensor) -> Tensor:
    """(B, C, *S) -> (B, 3, *S): each pixel by itself."""
    x = image[:, :1]
    return torch.cat((x, -x, x.square()), 1).softmax(1)


def bright(image: Tensor) -> Tensor:
    """Foreground where the first channel is above 100."""
    fg = torch.sigmoid(image[:, :1] - 100)
    return torch.cat((1 - fg, fg), 1)


def trained(dims: int, classes: int = 3, norm: str = "batch") -> nn.Module:
    cls, settings = find("supervised")
    return cls(partial(build, NetworkConfig(width=4, norm=norm), 1, classes, dims), settings()).eval()


# --- arrays -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(48, 40), (17, 90), (5, 7), (32, 32), (20, 33, 18), (9, 50, 12), (3, 4, 5)])
@pytest.mark.parametrize("mirror", [False, True])
def test_windows_equal_a_direct_pass_where_each_pixel_stands_alone(shape: tuple[int, ...], mirror: bool) -> None:
    image = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    config = PredictConfig(precision="fp32", mirror=mirror)
    found = predict_case(pixelwise, image, plan_of((16,) * len(shape)), config, CPU)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, pixelwise(torch.from_numpy(image)[None])[0], atol=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("shape", [(32, 32), (70, 41), (16, 30, 22)])
def test_probabilities_sum_to_one(precision: str, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(1).normal(size=(1, *shape)).astype(np.float32)
    config = PredictConfig(precision=precision, mirror=True)
    found = predict_case(trained(len(shape)).predict, image, plan_of((32,) * len(shape)), config, CPU)
    assert found.shape == (3, *shape)
    assert found.min() >= 0
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)


def test_an_image_of_the_patchs_size_is_what_the_model_sees() -> None:
    model, image = trained(2), np.random.default_rng(2).normal(size=(1, 32, 48)).astype(np.float32)
    found = predict_case(model.predict, image, plan_of((32, 48)), EXACT, CPU)
    with torch.no_grad():
        np.testing.assert_allclose(found, model.predict(torch.from_numpy(image)[None])[0], atol=1e-6)


@pytest.mark.parametrize("shape", [(30, 44), (61, 50)])
def test_a_mirrored_image_gives_the_mirrored_answer(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(3).normal(size=(1, *shape)).astype(np.float32)
    ask = partial(predict_case, trained(2).predict, plan=plan_of((32, 32)), device=CPU)
    config = PredictConfig(precision="fp32", mirror=True)
    np.testing.assert_allclose(ask(image[:, ::-1], config=config), ask(image, config=config)[:, ::-1], atol=1e-5)
    assert np.abs(ask(image[:, ::-1], config=EXACT) - ask(image, config=EXACT)[:, ::-1]).max() > 1e-4


@pytest.mark.parametrize("shape", [(32, 32), (40, 70)])
def test_images_together_give_what_each_gives_alone(shape: tuple[int, int]) -> None:
    images = np.random.default_rng(4).normal(size=(3, 1, *shape)).astype(np.float32)
    model, plan = trained(2, norm="instance").predict, plan_of((32, 32))
    together = predict_batch(model, list(images), plan, EXACT, CPU)
    alone = [predict_case(model, image, plan, EXACT, CPU) for image in images]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_patches_that_the_networks_do_not_take_are_enlarged() -> None:
    image = np.random.default_rng(5).normal(size=(1, 40, 25)).astype(np.float32)
    for patch in ((40, 25), (24, 24)):
        assert predict_case(trained(2).predict, image, plan_of(patch), EXACT, CPU).shape == (3, 40, 25)


def test_predicting_leaves_no_gradients_and_keeps_the_weights() -> None:
    model = trained(2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    predict_case(model.predict, np.zeros((1, 32, 32), np.float32), plan_of((32, 32)), EXACT, CPU)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


# --- files ------------------------------------------------------------------------------------------------------------


def photograph(folder: Path, name: str, shape: tuple[int, int] = (20, 30), channels: int = 1) -> Path:
    array = np.random.default_rng(len(name)).integers(0, 200, (*shape, channels), np.uint8)
    path = folder / f"{name}.png"
    Image.fromarray(array.squeeze()).save(path)
    return path


def files(
    cases: Sequence[tuple[str, Sequence[Path]]], output: Path, plan: Plan | None = None, **more: bool
) -> list[tuple[str, str]]:
    probabilities = more.pop("probabilities", False)
    return predict_files(bright, cases, plan or plan_of((32, 32)), EXACT, output, probabilities, CPU, **more)


def test_a_file_that_cannot_be_read_does_not_stop_the_others(tmp_path: Path) -> None:
    paths = [photograph(tmp_path, name) for name in "abcdefg"]
    paths[2].write_bytes(paths[2].read_bytes()[:60])
    photograph(tmp_path, "e", channels=3)
    paths[5].unlink()
    failures = files([(path.stem, [path]) for path in paths], tmp_path / "out")
    assert [name for name, _ in failures] == ["c", "e", "f"]
    assert all(str(tmp_path / f"{name}.png") in reason for name, reason in failures)
    assert "3 channel(s) where 1" in failures[1][1]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png", "d.png", "g.png"]
    for name in "abdg":
        np.testing.assert_array_equal(
            np.asarray(Image.open(tmp_path / "out" / f"{name}.png")),
            np.asarray(Image.open(tmp_path / f"{name}.png")) > 100,
        )


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        MemoryError(),
        OverflowError("cannot convert float infinity to integer"),
    ],
)
@pytest.mark.parametrize("where", ["read_image", "predict_batch", "write_label"])
def test_what_goes_wrong_with_one_does_not_stop_the_others(
    where: str, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group that goes through the network in one go is tried one by one."""
    paths = [photograph(tmp_path, name) for name in "abcd"]
    Image.fromarray(np.full((20, 30), 255, np.uint8)).save(paths[2])
    honest = getattr(predict, where)

    def broken(*args: object) -> object:
        told = [path.stem for path in args[0]] if where == "read_image" else [getattr(args[0], "stem", "")]
        white = where == "predict_batch" and any((image == 255).all() for image in args[1])
        if "c" in told or white:
            raise error
        return honest(*args)

    monkeypatch.setattr(predict, where, broken)
    ((name, reason),) = files([(path.stem, [path]) for path in paths], tmp_path / "out")
    assert name == "c"
    assert ("memory" in reason) is not isinstance(error, OverflowError)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png", "d.png"]


def test_a_full_disk_is_for_all_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(predict, "write_label", full)
    with pytest.raises(OSError, match="No space left"):
        files([(name, [photograph(tmp_path, name)]) for name in "ab"], tmp_path / "out")


def test_a_model_that_gives_no_numbers_gives_no_mask(tmp_path: Path) -> None:
    cases = [(name, [photograph(tmp_path, name)]) for name in "ab"]
    lost = predict_files(lambda image: bright(image) / 0, cases, plan_of((32, 32)), EXACT, tmp_path / "out", False, CPU)
    assert [name for name, _ in lost] == ["a", "b"]
    assert "no numbers" in lost[0][1]
    assert not (tmp_path / "out").exists()


def test_a_grid_too_large_for_memory_is_refused_before_it_is_made(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 200, (9, 21, 14)).astype(np.int16)
    place = ((0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    for name, step in (("a", 1.0), ("b", 1000.0), ("c", 1.0)):
        write_image(tmp_path / f"{name}.nii.gz", array, Geometry((step,) * 3, *place))
    cases = [(name, [tmp_path / f"{name}.nii.gz"]) for name in "abc"]
    ((name, reason),) = files(cases, tmp_path / "out", plan_of((16, 16, 16), spacing_mm=(1.0, 1.0, 1.0)))
    assert name == "b"
    for part in ("b.nii.gz", "1000 × 1000 × 1000 mm", "9000 × 21000 × 14000 pixels", "GiB", "unit"):
        assert part in reason
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.nii.gz", "c.nii.gz"]


def test_small_pictures_of_one_shape_go_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = [(20, 30)] * 6 + [(30, 20)] * 2 + [(50, 50)] * 2
    cases = [(f"{i:02d}", [photograph(tmp_path, f"{i:02d}", shape)]) for i, shape in enumerate(shapes)]
    sizes: list[int] = []

    def counted(model: object, images: list[np.ndarray], *more: object) -> np.ndarray:
        sizes.append(len(images))
        return predict_batch(model, images, *more)

    monkeypatch.setattr(predict, "predict_batch", counted)
    assert files(cases, tmp_path / "out") == []
    assert sizes == [4, 2, 2, 1, 1]
    for name, (path,) in cases:
        found = read_label(tmp_path / "out" / f"{name}.png").array
        np.testing.assert_array_equal(found, np.asarray(Image.open(path)) > 100)


@pytest.mark.parametrize("resampled", [False, True])
@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_geometry_is_that_of_the_image(tmp_path: Path, ending: str, resampled: bool) -> None:
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, -1.0]])
    geometry = Geometry((3.1, 0.71, 0.93), (-12.5, 40.25, 7.0), tuple(turn.ravel()))
    array = np.random.default_rng(0).integers(0, 200, (9, 21, 14)).astype(np.int16)
    source = tmp_path / f"scan_0000{ending}"
    write_image(source, array, geometry)
    plan = plan_of((16, 16, 16), spacing_mm=(2.0, 1.0, 1.0) if resampled else None)
    assert files([("scan", [source])], tmp_path / "out", plan) == []

    image, label = (SimpleITK.ReadImage(str(path)) for path in (source, tmp_path / "out" / f"scan{ending}"))
    assert label.GetSize() == image.GetSize()
    same = partial(pytest.approx, rel=1e-15 if ending != ".nrrd" else 1e-12)  # NRRD stores direction times spacing
    assert label.GetSpacing() == same(image.GetSpacing())
    assert label.GetOrigin() == same(image.GetOrigin())
    assert label.GetDirection() == same(image.GetDirection())
    agree = (SimpleITK.GetArrayFromImage(label) == (array > 100)).mean()
    assert agree > 0.6 if resampled else agree == 1


def test_pictures_are_resized_and_brought_back(tmp_path: Path) -> None:
    Image.fromarray(np.pad(np.full((30, 20), 255, np.uint8), ((10, 20), (20, 30)))).save(tmp_path / "disk.png")
    plan = plan_of((32, 32), size=(32, 32))
    files([("disk", [tmp_path / "disk.png"])], tmp_path / "out", plan, probabilities=True)
    label = read_label(tmp_path / "out" / "disk.png").array
    assert label.shape == (60, 70)
    assert abs(int(label.sum()) - 600) < 60
    with np.load(tmp_path / "out" / "disk.npz") as arrays:
        prob = arrays["probabilities"]
    assert prob.dtype == np.float16
    assert prob.shape == (2, 60, 70)
    np.testing.assert_array_equal(prob.argmax(0), label)


def test_what_is_there_is_replaced(tmp_path: Path) -> None:
    cases, out = [("a", [photograph(tmp_path, "a")])], tmp_path / "out"
    out.mkdir()
    (out / "a.png").write_text("mine")
    files(cases, out)
    assert read_label(out / "a.png").array.shape == (20, 30)


def test_channels_in_files_of_their_own_and_masks_of_jpegs_are_pngs(tmp_path: Path) -> None:
    Image.open(photograph(tmp_path, "x", channels=3)).save(tmp_path / "x.jpg")
    pair = [photograph(tmp_path, "y_0000"), photograph(tmp_path, "y_0001")]
    assert files([("x", [tmp_path / "x.jpg"])], tmp_path / "out", plan_of((32, 32), channels=3)) == []
    assert files([("y", pair)], tmp_path / "out", plan_of((32, 32), channels=2)) == []
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["x.png", "y.png"]


def test_a_folder_that_cannot_be_written_to_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="cannot be written"):
        files([("a", [photograph(tmp_path, "a")])], tmp_path / "out")


def test_a_precision_that_does_not_repeat_is_refused_at_the_start(tmp_path: Path) -> None:
    plan, half = plan_of((16, 16), classes=3), PredictConfig(precision="bf16")
    calls = iter(range(9))

    def model(image: Tensor) -> Tensor:
        return pixelwise(image * (1 + next(calls)))

    check_precision(pixelwise, plan, half, CPU)
    check_precision(model, plan, EXACT, CPU)
    assert next(calls) == 0  # nothing to ask in fp32
    with pytest.raises(InputError, match=r"predict\.precision=bf16 .* another answer; leave it at auto"):
        predict_files(model, [("a", [tmp_path / "a.png"])], plan, half, tmp_path / "OUT", False, CPU)
    assert not list(tmp_path.iterdir())


def test_mirrored_views_never_exchange_left_and_right():
    sided = plan_of((32, 32)).model_copy(update={"labels": {"background": 0, "left lung": 1, "right lung": 2}})
    for left_right, views in ((1, [()]), ("unknown", [()]), ("across", _mirrors(plan_of((32, 32))))):
        assert _mirrors(sided.model_copy(update={"left_right": left_right})) == views
    deep = plan_of((32, 32, 32)).model_copy(update={"labels": sided.labels, "left_right": 2})
    assert _mirrors(deep) == [(), (2,)]
