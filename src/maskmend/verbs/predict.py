"""``maskmend predict``: masks for new images, on their own grid."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..data.images import list_images
from ..engine.world import launch
from ..errors import InputError
from ..infer.predict import predict_files
from ..runs.folder import check_folder, load_run
from ..runs.masks import of_dataset


@dataclass(frozen=True)
class Predictions:
    """Where the masks are, how many there are, and which images gave none, with the reason. truth: the folder of their
    true masks, if they are the test images of a data set that has some."""

    folder: Path
    count: int
    failures: list[tuple[str, str]]
    truth: Path | None = None

    def table(self) -> str:
        made = f"{self.folder}: {self.count} masks."
        if self.truth is None:
            return made
        folder, truth = (shlex.quote(str(path)) for path in (self.folder, self.truth))
        return f"{made}\nNext: maskmend evaluate {folder} {truth}"


def predict(
    run: Path,
    images: Path,
    output: Path,
    checkpoint: Literal["best", "last"] = "best",
    *,
    probabilities: bool = False,
    mirror: bool = False,
    device: str = "auto",
) -> Predictions:
    """Predict a mask for every image.

    Args:
        run: the folder that ``maskmend train`` made.
        images: a folder (``CASE_0000.ending`` for each channel, or one file a case), or one file.
        output: folder for ``CASE.ending``; made where it is missing, files of the same name are replaced.
        checkpoint: the best model on the validation cases, or the last one.
        probabilities: also write ``CASE.npz`` with (K, *S) "probabilities".
        mirror: average over mirrored views: slower, a little better.
        device: auto, cpu or cuda.

    Raises:
        InputError: no run, no images, a folder of a data set for the masks, a damaged checkpoint or a full disk. What
            goes wrong with one image is a failure of that case alone.
    """
    folder = Path(images) if Path(images).is_dir() else Path(images).parent
    if Path(output).resolve() == folder.resolve():
        raise InputError(f"{output} holds the images, which masks would mix with; choose another folder with -o.")
    if of_dataset(Path(output)):
        raise InputError(
            f"{output} belongs to a data set, whose masks are never replaced; choose another folder with -o."
        )
    check_folder(Path(output))
    world = launch(device)
    method, plan, settings = load_run(Path(run), checkpoint, world.device)
    cases, failures = list_images(Path(images), plan.channels)
    config = settings.predict.model_copy(update={"mirror": mirror or settings.predict.mirror})
    failed = predict_files(method.predict, cases, plan, config, Path(output), probabilities, world.device)
    failures = sorted(failures + failed)
    if len(failed) == len(cases):
        name, reason = failures[0]
        raise InputError(f"none of the {len(failures)} images could be predicted; the first, {name}: {reason}")
    truth = folder.with_name("labelsTs")
    tested = Path(images).is_dir() and folder.name == "imagesTs" and truth.is_dir() and any(truth.iterdir())
    return Predictions(Path(output), len(cases) - len(failed), failures, truth if tested else None)
