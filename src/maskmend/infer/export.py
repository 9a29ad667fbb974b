"""A trained method as one file that other programs run: ONNX, and TorchScript for a MONAI bundle.

The file takes preprocessed images (B, C, *S) and gives class probabilities (B, K, *S): of one network, or the average
of several, as the method predicts.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data.plan import Plan
from ..errors import InputError
from ..methods import Method
from ..networks import total_stride

LIBRARIES = ("onnx", "onnxruntime", "onnxscript")
TOLERANCE = 1e-3
"""Probabilities of an exported file may differ by this from ours; float32 differs by some 1e-6."""
OPSET = 18


class Answer(nn.Module):
    """What a method predicts, (B, C, *S) -> (B, K, *S) float32 probabilities that sum to one, in eval mode on the CPU.

    Single numbers that a method keeps as buffers, whether it has handed over, say, become plain ones: they decide which
    networks answer, and an exported file decides nothing.
    """

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = deepcopy(method).cpu().float().eval().requires_grad_(False)
        for name, value in list(self.method.named_buffers(recurse=False)):
            if value.numel() == 1:
                delattr(self.method, name)
                setattr(self.method, name, value.item())
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        found = self.method.predict(image).float()
        return found / found.sum(1, keepdim=True)


def check_libraries() -> None:
    """Raises InputError where a library that writes or runs ONNX is not installed."""
    if missing := [name for name in LIBRARIES if find_spec(name) is None]:
        raise InputError(f"export needs {' and '.join(missing)}: pip install 'maskmend[export]'.")


def window_of(model: nn.Module, plan: Plan) -> tuple[int, ...]:
    """The window in which `maskmend predict` shows images to the model: the patch, as a multiple of its stride."""
    stride = total_stride(model, plan.dims)
    return tuple(-(-n // s) * s for n, s in zip(plan.patch, stride, strict=True))


def write_onnx(answer: Answer, plan: Plan, path: Path, about: dict[str, Any]) -> bool:
    """Write ``path``, and run it: whether it takes every batch and size, or one image of the window's size alone.

    about: how images are prepared, kept in the file as its metadata "maskmend", JSON.

    Raises:
        InputError: the networks cannot be written as ONNX, or onnxruntime answers otherwise than they.
    """
    stride = total_stride(answer, plan.dims)
    window = window_of(answer, plan)
    axes: dict[int, Any] = {0: torch.export.Dim("batch", min=1, max=4096)}
    for axis, step in enumerate(stride):
        axes[2 + axis] = step * torch.export.Dim(f"size{axis}", min=1, max=4096)
    larger = tuple(n + s for n, s in zip(window, stride, strict=True))
    example = torch.zeros(2, plan.channels, *(max(n, 2 * s) for n, s in zip(window, stride, strict=True)))

    def write(image: Tensor, dynamic: tuple[dict[int, Any]] | None) -> Callable[[Tensor], Tensor]:
        with _quiet():
            program: Any = torch.onnx.export(
                answer, (image,), input_names=["image"], output_names=["probabilities"], dynamo=True, verbose=False,
                dynamic_shapes=dynamic, opset_version=OPSET,
            )  # fmt: skip
            program.model.metadata_props["maskmend"] = json.dumps(about)
            program.save(path, external_data=False)
        return runner(path)

    images = noise(plan, (1, window), (2, larger))
    if _agrees(lambda: write(example, (axes,)), answer, images):
        return True
    if _agrees(lambda: write(images[0], None), answer, images[:1]):
        return False
    raise InputError("the networks cannot be written as ONNX that answers as they do; choose another network.name.")


def trace(answer: Answer, plan: Plan) -> tuple[torch.jit.ScriptModule, bool]:
    """The answer as TorchScript; and whether it takes every batch and size, or one image of the window's size alone."""
    window, stride = window_of(answer, plan), total_stride(answer, plan.dims)
    images = noise(plan, (1, window), (2, tuple(n + s for n, s in zip(window, stride, strict=True))))
    with _quiet(), torch.no_grad():
        traced: Any = torch.jit.freeze(torch.jit.trace(answer, images[0], check_trace=False))
    return traced, _agrees(lambda: traced, answer, images)


def runner(path: Path) -> Callable[[Tensor], Tensor]:
    """What onnxruntime answers with the file at ``path``: (B, C, *S) -> (B, K, *S), on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda image: torch.from_numpy(session.run(None, {"image": image.numpy()})[0])


def noise(plan: Plan, *shapes: tuple[int, Sequence[int]]) -> list[Tensor]:
    """Images of so many rows and this size."""
    rng = np.random.default_rng(0)
    return [torch.from_numpy(rng.standard_normal((n, plan.channels, *size), np.float32)) for n, size in shapes]


def _agrees(make: Callable[[], Callable[[Tensor], Tensor]], answer: Answer, images: Sequence[Tensor]) -> bool:
    """Whether what was made answers each of the images as ``answer`` does. What cannot be made or run does not."""
    try:
        with torch.no_grad():
            made = make()
            return all(bool((made(image) - answer(image)).abs().max() <= TOLERANCE) for image in images)
    except OSError:
        raise
    except Exception:  # of three libraries, on what they do not know: each its own
        return False


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' talk of what is deprecated, or not installed."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        log.setLevel(level)
