"""The data of a benchmark: true data sets and their noisy copies, made once; what they held, to see that it stays so.

OUT/data/NAME/truth        the data set with its true masks, where it was prepared or made up
OUT/data/NAME/NOISE        a copy whose training masks are wrong
OUT/data/NAME/made.json    what was made how, and digests of all files
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..data.align import aligned
from ..data.cache import Cache, default_cache, digest
from ..data.dataset import Case, Dataset, open_dataset
from ..data.formats import read_label, write_json
from ..data.phantom import write_phantom
from ..data.survey import Survey, check_dataset
from ..errors import InputError
from ..prepare import prepare
from ..prepare.sources import recognise
from ..progress import track
from ..runs.simulate import simulate
from ..texts import read_object
from ..types import IGNORE, Trust
from .deal import Deal
from .plan import BenchPlan, DataSpec, NoiseSpec, with_place
from .truth import check_truth, cure, is_nnunet, knows_truth, true_dataset

BESIDE = ("dataset.json", "splits_final.json", "supervision.csv", "volumes.csv")
TEST = 0.2
"""Share of a folder's cases that is kept for testing, if the plan names none."""
PARTS = {"said", "labels", "tables"}
"""What made.json holds of a noisy copy."""
Table = list[list[int]]
"""Pixels of a case by given class (rows) and true class (columns)."""


@dataclass(frozen=True)
class Wrong:
    """The true share of wrong pixels: of all, and of those given each class."""

    share: float
    by_class: tuple[float, ...]


@dataclass(frozen=True)
class Material:
    """A data set of the plan, ready to run on. ``true``, ``own``: with its true labels, with those it was given;
    ``known``: whether the first are known, or only taken to be the others. ``digest``: of all its files. ``copies``,
    ``tables``: by noise; ``wrongs``: the table of each case as it was given."""

    true: Dataset
    own: Dataset
    known: bool
    digest: str
    copies: Mapping[str, Dataset]
    tables: Mapping[str, Mapping[str, Table]]
    wrongs: Mapping[str, Table]

    def given(self, noise: str) -> Dataset:
        """The data set to learn from."""
        return self.copies.get(noise, self.own)

    def wrong(self, noise: str, train: Sequence[Case]) -> Wrong:
        """How much is wrong in the labels of these training cases; nothing in those that are clean."""
        classes = self.true.classes
        total = np.zeros((classes, classes), dtype=np.int64)
        for case in train:
            table = np.array(self.tables.get(noise, self.wrongs).get(case.name, np.eye(classes)), dtype=np.int64)
            total += np.diag(table.sum(0)) if case.trust is Trust.CLEAN else table
        right, given = total.diagonal(), total.sum(1)
        by_class = 1 - right / np.maximum(given, 1)
        return Wrong(float(1 - right.sum() / max(total.sum(), 1)), tuple(map(float, np.where(given > 0, by_class, 0))))


def check_data(plan: BenchPlan) -> None:
    """Raise InputError for a data set that is not there, cannot be measured on, or lacks what a method needs."""
    for name, spec in plan.datasets.items():
        place = f"{plan.file}: datasets.{name}"
        trust, measurable = _survey(spec, plan)
        if not measurable:
            raise InputError(f"{place}: {spec.path} has no test cases with true masks; add them, or name folds: [0].")
        with_place(plan, f"datasets.{name}", partial(check_truth, plan, name))
        with_place(plan, f"datasets.{name}", partial(_check_volumes, spec, plan))
        own = Trust.CLEAN in trust
        for row, method in plan.methods.items():
            if method.datasets is not None and name not in method.datasets:
                continue
            bare = [kind for kind in plan.noises_of(method, name) if not plan.clean_under(kind)]
            needs = method.given() == "truth" or (method.given() != "given" and not own and not bare)
            if needs and not knows_truth(plan, name):
                raise InputError(f"{plan.file}: methods.{row}: it needs {cure(plan, name)}.")
            if method.given() in ("given_and_clean", "clean") and not own and bare:
                raise InputError(
                    f"{plan.file}: methods.{row}: {method.method} needs clean cases and {name} has none; "
                    "set clean: 0.1, or mark some in supervision.csv."
                )
        count = min(len(trust), spec.train_cases or len(trust))
        for clean in map(plan.clean_under, plan.noises):
            if clean and not own and round(clean * count) >= count:
                raise InputError(f"{place}: clean={clean:g} leaves none of its {count} cases noisy; lower it.")


def _survey(spec: DataSpec, plan: BenchPlan) -> tuple[list[Trust], bool]:
    """The trust of each training case, and whether there are true masks to measure on."""
    if spec.phantom is not None:
        return [Trust.NOISY] * spec.phantom.train, True
    root = plan.place(str(spec.path))
    if is_nnunet(root):
        if spec.test is not None:
            raise InputError(f"{plan.file}: {root} is an nnU-Net data set, not to be prepared; leave test out.")
        found = open_dataset(root)
        tested = bool(found.test) and all(case.reference is not None for case in found.test)
        return [case.trust for case in found.train], tested or spec.folds is not None
    source = recognise(root)
    held = spec.folds is not None or any(pair.masks for pair in source.test)
    return [Trust.NOISY] * len(source.train), held or spec.test != 0


def _check_volumes(spec: DataSpec, plan: BenchPlan) -> None:
    """Raise InputError where slices cannot be scored by their volumes, as they should."""
    if spec.path is None or not is_nnunet(root := plan.place(spec.path)):
        if spec.volumes:
            raise InputError("volumes: true needs a data set with volumes.csv; name its path, or leave it out.")
        return
    true = open_dataset(root)
    for fold in spec.folds or (None,):
        deal = Deal("given", fold=fold, test=spec.test_cases)
        deal.volumes(true, deal.cases(true, true)[1], spec.volumes)


def make_data(plan: BenchPlan, out: Path) -> dict[str, Material]:
    """Every data set of the plan and its noisy copies; what was made before is only compared.

    Raises:
        InputError: a file changed since it was first used here, or the plan says otherwise how it is made.
    """
    return {name: _material(plan, name, out / "data" / name) for name in plan.datasets}


def _material(plan: BenchPlan, name: str, folder: Path) -> Material:
    spec, record = plan.datasets[name], folder / "made.json"
    made = _made(record)
    said = {**spec.model_dump(mode="json", include={"phantom", "test", "threshold"})}
    if made and made["said"] != said:
        raise InputError(f"{plan.file}: datasets.{name} was made otherwise in {folder}; give it a name of its own.")
    root, source = _true(plan, spec, folder, fresh=not made)
    true, own = true_dataset(root), open_dataset(root)
    with Survey(default_cache(), root) as survey:
        files = _digests({**_files(true), **_files(own), **source}, f"Reading {name}", survey)
        if not made:
            check_dataset(true, cache=survey)
            check_dataset(own, cache=survey)
    if not made:
        made = {"said": said, "files": files, "noises": {}, "wrongs": _tables(true, own)}
        write_json(record, made)
    _same(made["files"], files, name, folder)
    noises = ((kind, plan.noise_on(name, kind)) for kind in plan.noises)
    kinds = {kind: wanted for kind, wanted in noises if wanted is not None and wanted.noise}
    for kind, wanted in kinds.items():
        copy, cases = folder / kind, _learned(true, spec)
        what = {"noise": wanted.of_masks(), "cases": cases}
        if kind not in made["noises"]:
            try:
                made["noises"][kind] = {"said": what, **_spoil(true, copy, wanted, cases)}
            except InputError as error:
                raise InputError(f"{plan.file}: noises.{kind} on {name}: {error}") from None
            write_json(record, made)
        if made["noises"][kind]["said"] != what:
            sentence = f"noises.{kind} was made otherwise for {name} in {copy}; give it a name of its own."
            raise InputError(f"{plan.file}: {sentence}")
        _check_copy(name, copy, made["noises"][kind])
    tables = {kind: made["noises"][kind]["tables"] for kind in kinds}
    copies = {kind: open_dataset(folder / kind) for kind in kinds}
    known = knows_truth(plan, name)
    return Material(true, own, known, digest(made["files"]), copies, tables, made.get("wrongs", {}))


def _made(record: Path) -> dict[str, Any]:
    """What was made how; nothing where no such file is, or a crash spoilt it: then all is made again."""
    with suppress(InputError):
        made = read_object(record)
        noises = made.get("noises")
        groups = [made.get("said"), made.get("files"), noises, *(noises.values() if isinstance(noises, dict) else ())]
        if all(isinstance(group, dict) for group in groups) and all(each.keys() >= PARTS for each in groups[3:]):
            return made
    return {}


def _true(plan: BenchPlan, spec: DataSpec, folder: Path, fresh: bool) -> tuple[Path, dict[str, Path]]:
    """The data set with true masks, made if need be, and the files that it was made from."""
    if spec.path is not None and is_nnunet(root := plan.place(spec.path)):
        return root, {}
    true = folder / "truth"
    if fresh:
        shutil.rmtree(true, ignore_errors=True)  # of a call that was killed
        folder.mkdir(parents=True, exist_ok=True)
    if spec.phantom is not None:
        if fresh:
            about = spec.phantom
            write_phantom(true, about.dims, about.train, about.test, about.size, about.seed)
        return true, {}
    root = plan.place(str(spec.path))
    source = recognise(root)
    if fresh:
        own = spec.folds is not None or any(pair.masks for pair in source.test)
        prepare(root, true, spec.test if spec.test is not None else 0.0 if own else TEST, spec.threshold)
    paths = [path for pair in source.train + source.test for path in (*pair.images, *pair.masks)]
    return true, {f"source/{path.relative_to(root)}": path for path in [*paths, *source.beside]}


def _files(dataset: Dataset) -> dict[str, Path]:
    """Every file that says something of a data set, by a name that does not depend on where it lies."""
    root = dataset.root
    paths = [root / name for name in BESIDE if (root / name).exists()]
    for case in dataset.train + dataset.test:
        paths += [*case.images, *(path for path in (case.label, case.reference) if path), *case.raters]
    return {str(path.relative_to(root) if path.is_relative_to(root) else path): path for path in paths}


def _digests(files: Mapping[str, Path], doing: str, cache: Cache) -> dict[str, str]:
    return {name: cache.content([path]) for name, path in track(sorted(files.items()), doing, total=len(files))}


def _same(before: Mapping[str, str], now: Mapping[str, str], name: str, folder: Path) -> None:
    if before == now:
        return
    other = min(file for file in {*before, *now} if before.get(file) != now.get(file))
    what = "was added" if other not in before else "is gone" if other not in now else "changed"
    raise InputError(
        f"{other} of the data set {name!r} {what} since the runs in {folder.parents[1]} were made; "
        "put it back, or run the plan into another folder with -o."
    )


def _learned(true: Dataset, spec: DataSpec) -> list[str] | None:
    """Names of the cases that any run learns from, where these are not all: no other mask need be spoilt."""
    if spec.train_cases is None:
        return None
    deals = [Deal("given", fold=fold, train=spec.train_cases) for fold in spec.folds or (None,)]
    return sorted({case.name for deal in deals for case in deal.cases(true, true)[0]})


def _spoil(true: Dataset, copy: Path, wanted: NoiseSpec, cases: list[str] | None) -> dict[str, Any]:
    """Make a noisy copy: digests of its labels, and what is wrong in each."""
    shutil.rmtree(copy, ignore_errors=True)  # of a call that was killed
    assert wanted.noise is not None
    much = (wanted.fraction, wanted.seed, wanted.target_dice)
    simulate(true.root, copy, wanted.noise, wanted.parameters, *much, cases)
    given = open_dataset(copy)
    return {"labels": _labels(given), "tables": _tables(true, given)}


def _labels(copy: Dataset) -> dict[str, str]:
    """The digest of each label."""
    labels = {case.name: case.label for case in copy.train if case.label is not None}
    with Survey(default_cache(), copy.root) as survey:
        return _digests(labels, "Reading labels", survey)


def _tables(true: Dataset, given: Dataset) -> dict[str, Table]:
    """What is wrong in the labels of each case; nothing is said of those whose label is the true one."""
    truth = {case.name: case.label for case in true.train}
    return {
        case.name: _table(case.label, path, true.classes, given.ignore)
        for case in given.train
        if case.label is not None and (path := truth[case.name]) is not None and path != case.label
    }


def _table(given: Path, true: Path, classes: int, ignore: int | None) -> Table:
    truth = read_label(true)
    a, b = aligned(read_label(given), truth, str(given), str(true)).array, truth.array
    seen = (a != IGNORE) & (b != IGNORE) & (b != ignore)
    pairs = a[seen].astype(np.int64) * classes + b[seen]
    table: Table = np.bincount(pairs, minlength=classes**2).reshape(classes, classes).tolist()
    return table


def _check_copy(name: str, copy: Path, made: Mapping[str, Any]) -> None:
    """The copy must be what it was when it was made."""
    _same(made["labels"], _labels(open_dataset(copy)), f"{name}/{copy.name}", copy.parent)
