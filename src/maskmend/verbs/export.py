"""``maskmend export``: a trained model for other programs, with its preprocessing written down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from ..data.plan import by
from ..data.scratch import check_new, new_folder
from ..errors import InputError
from ..infer.export import Answer, check_libraries, trace, window_of, write_onnx
from ..infer.export_bundle import Model, write_bundle
from ..runs.folder import check_folder, load_run


@dataclass(frozen=True)
class Exported:
    """Where the model is. dynamic: whether its ONNX file takes every batch and size; window: else this size alone, one
    image at a time. mirrored: whether `maskmend predict` averages over mirrored images, which the files do not."""

    folder: Path
    window: tuple[int, ...]
    dynamic: bool
    mirrored: bool

    def table(self) -> str:
        """As it is printed."""
        takes = "every batch and size" if self.dynamic else f"one image of {by(self.window)} pixels at a time"
        lines = [
            f"{self.folder}: a MONAI bundle; its models/model.onnx takes {takes}, and answers as this model does.",
            f"The preprocessing is written down in {self.folder / 'docs' / 'README.md'}.",
        ]
        if self.mirrored:
            lines.append("It does not average over mirrored images (predict.mirror), as `maskmend predict` does.")
        return "\n".join(lines)


def export(run: Path, output: Path, *, checkpoint: Literal["best", "last"] = "best") -> Exported:
    """Write the model of a run as ONNX and as a MONAI bundle, one folder.

    Args:
        run: the folder that ``maskmend train`` made.
        output: a new folder: models/model.onnx and model.ts, configs/, scripts/transforms.py, docs/README.md. The
            model's answer is that of the method, of one network or the average of several: (B, K, *S) probabilities.
        checkpoint: the best model on the validation cases, or the last one.

    Raises:
        InputError: a library is missing, there is no run or checkpoint, ``output`` holds something, or the networks
            cannot be written as ONNX.
    """
    run, output = Path(run), Path(output)
    check_libraries()
    check_new(output)
    check_folder(output)
    method, plan, settings = load_run(run, checkpoint, torch.device("cpu"))
    if plan.slices:
        raise InputError(
            f"{run} sees slices of volumes (data.slices={plan.slices}), which what export writes cannot say; export a "
            "run without data.slices."
        )
    answer = Answer(method)
    network = settings.network.model_dump(mode="json")
    model = Model(plan, settings.predict, settings.method_name, network, window_of(answer, plan))
    with new_folder(output) as folder:
        models = folder / "models"
        models.mkdir()
        dynamic = write_onnx(answer, plan, models / "model.onnx", model.about())
        script, any_size = trace(answer, plan)
        script.save(str(models / "model.ts"))
        write_bundle(folder, replace(model, onnx_dynamic=dynamic, script_dynamic=any_size))
    return Exported(output, model.window, dynamic, settings.predict.mirror)
