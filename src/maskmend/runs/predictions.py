"""What ``maskmend predict`` is asked for, which files it makes of which cases, and who made those that are there."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from ..data.cache import content_hash, digest
from ..data.dicom import Found, is_dicom, survey
from ..data.dicom_scan import numbered
from ..data.formats import write_json
from ..data.images import list_images
from ..data.scratch import check_outside, scratch
from ..engine.checkpoint import newest
from ..errors import InputError
from ..infer.predict import PredictConfig, label_of, npz_of
from ..texts import read_object
from .dicom import ENDING, Failures, Images, Scans, scans_in, seg_of
from .folder import check_folder
from .masks import of_dataset

RECORD = "predict.json"
"""Beside the masks: which model made them, of which folder of images."""


@dataclass(frozen=True)
class Asked:
    """What to predict, from what, and what of it to write; as in ``verbs.predict``."""

    run: Path
    images: Path
    output: Path
    checkpoint: Literal["best", "last"]
    probabilities: bool
    mirror: bool
    dicom_seg: bool

    @property
    def folder(self) -> Path:
        """That holds the images."""
        return self.images if self.images.is_dir() else self.images.parent

    def check(self) -> None:
        """Raises InputError where masks would mix with images or the masks of a data set, or cannot be written."""
        output, images = self.output, self.images
        if output.resolve() == self.folder.resolve():
            raise InputError(f"{output} holds the images, which masks would mix with; choose another folder with -o.")
        if of_dataset(output):
            raise InputError(
                f"{output} belongs to a data set, whose masks are never replaced; choose another folder with -o."
            )
        check_folder(output)
        if not is_dicom(images):
            if self.dicom_seg:
                raise InputError(f"{images} is no folder of DICOM series, which --dicom-seg refers to; leave it out.")
        else:
            check_outside(output, images)

    def files(self, name: str, image: Path) -> list[Path]:
        """What a case becomes, its mask first."""
        label = label_of(name, image, self.output)
        more = [npz_of(label)] * self.probabilities + [seg_of(name, self.output)] * self.dicom_seg
        return [label, *more]

    def settings(self, config: PredictConfig) -> PredictConfig:
        """Those of the run, with what is asked for."""
        return config.model_copy(update={"mirror": self.mirror or config.mirror})

    def anywhere(self) -> Asked:
        """The same by paths that hold in every folder."""
        run, images, output = (path.absolute() for path in (self.run, self.images, self.output))
        return replace(self, run=run, images=images, output=output)

    def record(self, config: PredictConfig) -> dict[str, Any]:
        """Who makes the masks: the same for the same model, settings and folder of images, and told by no path."""
        files = [newest(self.run / f"{self.checkpoint}.ckpt"), self.run / "plan.json"]
        return {
            "checkpoint": self.checkpoint,
            "model": content_hash(files),
            "images": digest(os.path.relpath(self.folder.resolve(), self.output.resolve())),
            "settings": config.model_dump(mode="json"),
        }


@dataclass(frozen=True)
class Cases:
    """The cases at a place. files: what each becomes, by name and sorted by it; nothing where ``failures`` say why."""

    asked: Asked
    files: Mapping[str, list[Path]]
    images: Images
    failures: Failures
    found: Found | None = None

    def done(self) -> set[str]:
        """Whose files are all there."""
        there = self._there()
        return {name for name, files in self.files.items() if files and there.issuperset(files)}

    def masks(self) -> set[str]:
        """Whose masks are there."""
        there = self._there()
        return {name for name, files in self.files.items() if there.intersection(files[:1])}

    @contextmanager
    def ready(self, names: Collection[str]) -> Iterator[tuple[Images, Failures, Scans | None]]:
        """Some of them as images, and why others give none; DICOM series are volumes beside ``output`` meanwhile."""
        if self.found is None:
            images = [case for case in self.images if case[0] in names]
            yield images, [failure for failure in self.failures if failure[0] in names], None
            return
        series = {name: each for name, each in numbered(self.found.series).items() if name in names}
        with scratch(self.asked.output, ".dicom") as folder:
            scans, images, failures = scans_in(self.found, series, folder)
            yield images, failures, scans

    @contextmanager
    def recorded(self, record: Mapping[str, Any], keep: bool) -> Iterator[None]:
        """Write down who makes the masks; nothing stays where none is made, unless others may yet make some (``keep``).

        Raises InputError where files are there that others made, or nobody knows who.
        """
        path = self.asked.output / RECORD
        if (there := self._there()) and _read(path) != record:
            raise InputError(
                f"{min(there)} is there, and was not made by this model, with these settings, of these images; choose "
                "another folder with -o, or remove it."
            )
        if not there:
            write_json(path, record)
        try:
            yield
        finally:
            if not keep and not self._there():
                path.unlink(missing_ok=True)
                with suppress(OSError):
                    self.asked.output.rmdir()

    def _there(self) -> set[Path]:
        """The files that are there, of those that cases become."""
        there = set(self.asked.output.iterdir()) if self.asked.output.is_dir() else set[Path]()
        return there.intersection(chain.from_iterable(self.files.values()))


def cases_of(asked: Asked, channels: int) -> Cases:
    """The cases to predict by a model of so many channels.

    Raises InputError where there are none, or their kind does not fit the model.
    """
    if is_dicom(asked.images):
        if channels != 1:
            raise InputError(
                f"the model takes {channels} channels, and a DICOM series is one; give files of all channels."
            )
        found = survey(asked.images)
        named = {name: asked.files(name, Path(f"{name}{ENDING}")) for name in numbered(found.series)}
        return Cases(asked, named, [], [], found)
    images, failures = list_images(asked.images, channels)
    files = {name: asked.files(name, paths[0]) for name, paths in images} | {name: [] for name, _ in failures}
    return Cases(asked, dict(sorted(files.items())), images, failures)


def _read(path: Path) -> dict[str, Any] | None:
    with suppress(InputError):
        return read_object(path)
    return None
