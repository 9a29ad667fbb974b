"""Whether the true masks of training cases are known, and where they are.

They are those of labelsTr_truth, where the given ones are wrong; else the given ones, if the plan says so
(``truth: given``), or spoils them by a noise. Nothing else makes given masks true ones.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..data.dataset import Dataset, open_dataset
from ..data.layout import is_decathlon, read_json_object
from ..errors import InputError
from .plan import BenchPlan

TRUTH = "labelsTr_truth"


def true_dataset(root: Path) -> Dataset:
    """The data set with the true labels of its training cases: those of labelsTr_truth, where there are any.

    Raises InputError where it lacks the label of a case that has one in labelsTr.
    """
    given, folder = open_dataset(root), root / TRUTH
    if not folder.is_dir():
        return given
    truth = {case.name: folder / f"{case.name}{given.file_ending}" for case in given.train}
    for case in given.train:
        if case.label is not None and not truth[case.name].is_file():
            raise InputError(f"{truth[case.name]} is missing; add it, or take {TRUTH} away if nobody knows the truth.")
    known = (replace(case, label=path if (path := truth[case.name]).is_file() else None) for case in given.train)
    return replace(given, train=tuple(known))


def is_nnunet(root: Path) -> bool:
    """Whether a folder is an nnU-Net raw data set."""
    return (root / "dataset.json").exists() and not is_decathlon(root, read_json_object(root / "dataset.json"))


def knows_truth(plan: BenchPlan, name: str) -> bool:
    """Whether the true masks of a data set's training cases are known."""
    spec = plan.datasets[name]
    return spec.phantom is not None or spec.truth is not None or _spoilt_by(plan, name) != "" or _beside(plan, name)


def check_truth(plan: BenchPlan, name: str) -> None:
    """Raise InputError where labelsTr_truth lacks a case, the plan takes masks for right that it calls wrong, or cases
    are held out of which nobody knows the truth."""
    spec, noise = plan.datasets[name], _spoilt_by(plan, name)
    if _beside(plan, name):
        true_dataset(plan.place(str(spec.path)))
        if spec.truth:
            raise InputError(f"{plan.place(str(spec.path)) / TRUTH} holds its true masks; leave truth: given out.")
        if noise:
            raise InputError(
                f"{plan.place(str(spec.path)) / TRUTH} says that its masks are wrong already, and noises.{noise} would "
                f"spoil them; name the data sets that it is for in noises.{noise}.datasets."
            )
    if spec.folds is not None and not knows_truth(plan, name):
        raise InputError(f"folds needs {cure(plan, name)}.")


def cure(plan: BenchPlan, name: str) -> str:
    """What is missing where the truth is not known, and what to do: the end of a sentence."""
    root = plan.place(str(plan.datasets[name].path))
    beside = f"put them into {root / TRUTH}, or " if is_nnunet(root) else ""
    return (
        f"true masks of the training cases of {name}, and nothing says which these are; {beside}set truth: given under "
        f"datasets.{name} if the given ones are right"
    )


def _beside(plan: BenchPlan, name: str) -> bool:
    path = plan.datasets[name].path
    return path is not None and is_nnunet(root := plan.place(path)) and (root / TRUTH).is_dir()


def _spoilt_by(plan: BenchPlan, name: str) -> str:
    """The first noise that spoils its masks, which are right then; "" where none does."""
    found = ((kind, plan.noise_on(name, kind)) for kind in plan.noises)
    return next((kind for kind, noise in found if noise is not None and noise.noise is not None), "")
