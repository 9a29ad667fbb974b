"""From images to masks: windows where an image is larger than a patch, mirrored views by choice, the original grid."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ..data.backed import Room
from ..data.formats import READ_ONLY, Array, Picture, ending_of, first_line, read_image, write_label
from ..data.memory import out_of_memory
from ..data.plan import Plan
from ..data.preprocess import preprocess_image, restore, stacked
from ..data.scratch import scratch
from ..data.sides import sides_of
from ..engine.precision import AUTO, Precision, check_repeats, resolve_precision
from ..errors import InputError, full_disk
from ..networks import total_stride
from ..progress import track
from ..types import Config
from .large import is_large, labels, predict_large, restored, write_probabilities

Model = Callable[[Tensor], Tensor]
"""(B, C, *S) -> (B, K, *S) class probabilities: the ``predict`` of a method in eval mode."""


class PredictConfig(Config):
    """How a trained model is applied."""

    overlap: float = Field(0.5, ge=0, lt=1, description="share of a window that it has in common with the next")
    mirror: bool = Field(False, description="average over mirrored views, four in 2D and eight in 3D")
    window_batch: int = Field(4, gt=0, description="windows, or small pictures, at once")
    precision: Precision = Field("auto", description=AUTO)


# --- arrays -----------------------------------------------------------------------------------------------------------


def predict_case(model: Model, image: Array | Tensor, plan: Plan, config: PredictConfig, device: torch.device) -> Array:
    """(C, *S) float32 image on the plan's grid -> (K, *S) float32 probabilities, which sum to one."""
    found: Array = predict_batch(model, [np.asarray(image)], plan, config, device)[0]
    return found


@torch.no_grad()
def predict_batch(
    model: Model,
    images: Sequence[Array],
    plan: Plan,
    config: PredictConfig,
    device: torch.device,
    room: Room | None = None,
) -> Array:
    """B images (C, *S) of one shape -> (B, K, *S) float32 probabilities, which sum to one.

    Images that a patch can hold are padded to it and pass in one go; larger ones pass in windows of the patch's size,
    averaged with Gaussian weights (Isensee et al., Nature Methods 2021) on the CPU; a single large one in files of
    ``room``, if there is one. Where networks see slices, an image is a volume (C, N, *S), and each slice passes alone.

    Raises:
        InputError: the model gives no numbers.
    """
    if plan.slices:
        volumes = [_slice_by_slice(model, image, plan, config, device, room) for image in images]
        return np.stack(volumes) if len(volumes) > 1 else volumes[0][None]
    batch = torch.from_numpy(np.stack(images).astype(np.float32, copy=False))
    stride = _stride(model, plan.dims)
    window = tuple(-(-n // s) * s for n, s in zip(plan.patch, stride, strict=True))
    one_go = _fits(batch.shape[2:], window)
    dtype = resolve_precision(config.precision, device)

    def probabilities(view: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            found = model(view.to(device)).float()
        return found / found.sum(1, keepdim=True)

    def whole(view: Tensor) -> Tensor:
        if one_go:
            return _padded(probabilities, view, window).cpu()
        return _windows(probabilities, view, window, config, device)

    views = _mirrors(plan) if config.mirror else [()]
    if room and len(batch) == 1 and not one_go and is_large(plan.classes, batch.shape[2:]):
        return predict_large(probabilities, batch, window, config.overlap, views, room)[None]
    total = whole(batch.flip(views[0])).flip(views[0])
    for axes in views[1:]:
        total += whole(batch.flip(axes)).flip(axes)
    if not total.isfinite().all():
        raise InputError("the model's answer is no numbers (NaN); lower optim.lr, or set predict.precision=fp32.")
    return np.asarray(total.div_(len(views)))


def _slice_by_slice(
    model: Model, volume: Array, plan: Plan, config: PredictConfig, device: torch.device, room: Room | None
) -> Array:
    """(C, N, *S) -> (K, N, *S), some slices at a time; in a file of ``room``, if there is one."""
    one, shape = plan.model_copy(update={"slices": None}), (plan.classes, *volume.shape[1:])
    out: Array = room.zeros(shape) if room else np.empty(shape, np.float32)
    for start in range(0, shape[1], config.window_batch):
        some = slice(start, start + config.window_batch)
        found = predict_batch(model, [*np.moveaxis(volume[:, some], 1, 0)], one, config, device)
        out[:, some] = np.moveaxis(found, 0, 1)
        if room:
            room.visit(found.nbytes)
    return out


def check_precision(model: Model, plan: Plan, config: PredictConfig, device: torch.device) -> None:
    """Predict one patch of noise several times, where a CPU shall compute in less than fp32.

    Raises:
        InputError: the answers differ, or are no numbers.
    """
    if device.type == "cpu" and resolve_precision(config.precision, device) != torch.float32:
        patch = np.random.default_rng(0).standard_normal((plan.channels, *plan.shown), np.float32)
        check_repeats(
            lambda: {"answer": torch.from_numpy(predict_case(model, patch, plan, config, device))},
            f"predict.precision={config.precision}",
        )


def _padded(model: Model, image: Tensor, size: Sequence[int]) -> Tensor:
    """The answer to an image in the middle of ``size``, zero around it."""
    pads: list[int] = []
    for n, k in zip(reversed(size), reversed(image.shape), strict=False):
        pads += [(n - k) // 2, n - k - (n - k) // 2]
    return F.pad(model(F.pad(image, pads)), [-pad for pad in pads])


def _windows(model: Model, image: Tensor, window: Sequence[int], config: PredictConfig, device: torch.device) -> Tensor:
    """Image and answer stay on the CPU, only the windows of the moment are on ``device``."""
    from monai.inferers.utils import sliding_window_inference

    rows, overlap = config.window_batch, config.overlap
    answer = sliding_window_inference(
        image, window, rows, model, overlap, mode="gaussian", sw_device=device, device="cpu"
    )
    return cast(Tensor, answer)


def _mirrors(plan: Plan) -> list[tuple[int, ...]]:
    """Every set of spatial axes of (B, C, *S), the empty one first; without those that exchange left and right where
    classes are of one side."""
    sides = sides_of(plan.labels, plan.left_right, plan.dims, turns=True)
    axes = [2 + axis for axis in range(plan.dims) if axis not in sides.exchange + sides.spared]
    return [chosen for count in range(len(axes) + 1) for chosen in combinations(axes, count)]


def _stride(model: Model, dims: int) -> tuple[int, ...]:
    """What the networks behind ``model``, a module or a method of one, need lengths to be multiples of."""
    owner = getattr(model, "__self__", model)
    return total_stride(owner, dims) if isinstance(owner, nn.Module) else (1,) * dims


def _fits(shape: Sequence[int], window: Sequence[int]) -> bool:
    return all(n <= k for n, k in zip(shape, window, strict=True))


# --- files ------------------------------------------------------------------------------------------------------------


Failures = list[tuple[str, str]]
"""Name of a case, and why nothing came of it."""


@dataclass(frozen=True)
class _Ready:
    """A case that was read: ``image`` (C, *S') is on the plan's grid, ``label`` the file to write."""

    name: str
    original: Picture
    image: Array
    label: Path


def predict_files(
    model: Model,
    cases: Sequence[tuple[str, Sequence[Path]]],
    plan: Plan,
    config: PredictConfig,
    output: Path,
    probabilities: bool,
    device: torch.device,
) -> Failures:
    """Write a mask for every case, on the grid of its image; what goes wrong with one does not stop the others.

    Args:
        model: (B, C, *S) -> (B, K, *S) probabilities, in eval mode.
        cases: name and image files of each, one file per channel or all channels in one.
        plan: how the model's images were prepared.
        config: windows, mirroring, precision.
        output: folder for NAME.ending, the ending that of the images (PNG for JPEG and GIF).
        probabilities: also write NAME.npz, with (K, *S) float16 "probabilities".
        device: where the model is.

    Returns:
        Name and reason of every case that failed.

    Raises:
        InputError: the disk is full, ``output`` cannot be written, or this CPU does not repeat what it computes.
    """
    check_precision(model, plan, config, device)
    failures: Failures = []

    def ready() -> Iterator[_Ready]:
        for name, paths in track(cases, "predicting", total=len(cases)):
            case = None
            with _alone(name, failures, output):
                case = _read(name, paths, plan, label_of(name, paths[0], output))
            if case:
                yield case

    def write(group: Sequence[_Ready], found: Array, room: Room | None) -> None:
        for case, prob in zip(group, found, strict=True):
            with _alone(case.name, failures, output):
                image = case.original
                on_grid = restored(prob, image, plan, room) if room else restore(prob, image, plan)
                _write(case, on_grid, probabilities, room)

    def solve(group: Sequence[_Ready]) -> None:
        tried: Failures = []
        with _alone(group[0].name, tried, output), _room(group[0], plan) as room:
            write(group, predict_batch(model, [case.image for case in group], plan, config, device, room), room)
        if len(group) == 1:
            failures.extend(tried)
        elif tried:
            for case in group:
                solve([case])

    for group in _groups(ready(), config.window_batch, plan.shown):
        solve(group)
    return failures


@contextmanager
def _alone(name: str, failures: Failures, output: Path) -> Iterator[None]:
    """Whatever goes wrong within is a failure of this case, unless it is the disk's or the folder's."""
    try:
        yield
    except Exception as error:
        if full_disk(error) or (output.exists() and not _writable(output)):
            raise
        said = str(error) if isinstance(error, InputError) else f"{first_line(error)} ({type(error).__name__})."
        failures.append((name, "it does not fit into memory; crop it." if out_of_memory(error) else said))


def _writable(folder: Path) -> bool:
    """Asked of the disk too: SimpleITK does not say that it is full."""
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK) and shutil.disk_usage(folder).free > 0


def _read(name: str, paths: Sequence[Path], plan: Plan, label: Path) -> _Ready:
    original = read_image(paths)
    return _Ready(name, original, preprocess_image(original, plan, str(paths[0]), answers(plan, original)), label)


def answers(plan: Plan, image: Picture) -> int:
    """How many arrays of an image's grid prediction holds in memory: probabilities, and those of the windows that are
    averaged; what goes into files counts as two."""
    seen = stacked(image, plan)
    grid = plan.grid(seen.shape, seen.geometry.spacing_mm)
    return 2 if is_large(plan.classes, grid) else 2 * plan.classes


def _groups(cases: Iterable[_Ready], most: int, patch: Sequence[int]) -> Iterator[list[_Ready]]:
    """Neighbours of one shape, ``most`` at a time; what is larger than a patch goes alone."""
    group: list[_Ready] = []
    for case in cases:
        if group and case.image.shape != group[0].image.shape:
            yield group
            group = []
        group.append(case)
        if len(group) == (most if _fits(case.image.shape[1:], patch) else 1):
            yield group
            group = []
    if group:
        yield group


def _write(case: _Ready, prob: Array, probabilities: bool, room: Room | None) -> None:
    """The label last: where it is, the case is done."""
    if probabilities:
        write_probabilities(npz_of(case.label), prob, room)
    write_label(case.label, labels(prob, room) if room else prob.argmax(0), case.original.geometry)


@contextmanager
def _room(case: _Ready, plan: Plan) -> Iterator[Room | None]:
    """Where the answer to a case goes that memory may not hold."""
    if not any(is_large(plan.classes, array.shape[1:]) for array in (case.image, case.original.array)):
        yield None
        return
    with scratch(case.label, ".predicted") as folder:
        yield Room(folder)


def label_of(name: str, image: Path, output: Path) -> Path:
    """Where the mask of a case goes."""
    ending = ending_of(image)
    return output / f"{name}{'.png' if ending in READ_ONLY else ending}"


def npz_of(label: Path) -> Path:
    """Where the probabilities of a case go, by where its mask does."""
    return label.with_name(label.name.removesuffix(ending_of(label)) + ".npz")
