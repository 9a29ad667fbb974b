"""``maskmend predict``: masks for new images, on their own grid."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..data.dicom import is_dicom
from ..data.images import list_images
from ..data.scratch import scratch
from ..engine.world import launch
from ..errors import InputError
from ..infer.predict import predict_files
from ..runs.dicom import ENDING, Failures, Images, Scans, scans_in, write_segs
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
    dicom_seg: bool = False,
) -> Predictions:
    """Predict a mask for every image.

    Args:
        run: the folder that ``maskmend train`` made.
        images: a folder (``CASE_0000.ending`` for each channel, or one file a case), or one file; or a folder of DICOM
            series, which are case_001, case_002, … in the order of their paths.
        output: folder for ``CASE.ending``; made where it is missing, files of the same name are replaced.
        checkpoint: the best model on the validation cases, or the last one.
        probabilities: also write ``CASE.npz`` with (K, *S) "probabilities".
        mirror: average over mirrored views: slower, a little better.
        device: auto, cpu or cuda.
        dicom_seg: of DICOM series, also write ``CASE.dcm``, a DICOM-SEG for each.

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
    _check_dicom(Path(images), Path(output), dicom_seg)
    world = launch(device)
    method, plan, settings = load_run(Path(run), checkpoint, world.device)
    config = settings.predict.model_copy(update={"mirror": mirror or settings.predict.mirror})
    with _cases(Path(images), Path(output), plan.channels) as (cases, failures, scans):
        failed = predict_files(method.predict, cases, plan, config, Path(output), probabilities, world.device)
        failures = sorted(failures + failed)
        if len(failed) == len(cases):
            name, reason = failures[0]
            raise InputError(f"none of the {len(failures)} images could be predicted; the first, {name}: {reason}")
        if scans and dicom_seg:
            without = {name for name, _ in failed}
            made = [(name, Path(output) / f"{name}{ENDING}") for name, _ in cases if name not in without]
            failures += write_segs(scans, made, plan.labels, Path(output), drawn=False)
    truth = folder.with_name("labelsTs")
    tested = Path(images).is_dir() and folder.name == "imagesTs" and truth.is_dir() and any(truth.iterdir())
    return Predictions(Path(output), len(cases) - len(failed), failures, truth if tested else None)


def _check_dicom(images: Path, output: Path, dicom_seg: bool) -> None:
    """Raises InputError where the masks would lie among DICOM series, and where there are none to refer to."""
    if not is_dicom(images):
        if dicom_seg:
            raise InputError(f"{images} is no folder of DICOM series, which --dicom-seg refers to; leave it out.")
    elif output.resolve().is_relative_to(images.resolve()):
        raise InputError(f"{output} lies in {images}, which is never changed; choose a folder outside with -o.")


@contextmanager
def _cases(images: Path, output: Path, channels: int) -> Iterator[tuple[Images, Failures, Scans | None]]:
    """The cases to predict; DICOM series are volumes beside ``output`` meanwhile."""
    if not is_dicom(images):
        yield *list_images(images, channels), None
        return
    if channels != 1:
        raise InputError(f"the model takes {channels} channels, and a DICOM series is one; give files of all channels.")
    with scratch(output, ".dicom") as folder:
        scans, cases, failures = scans_in(images, folder)
        yield cases, failures, scans
