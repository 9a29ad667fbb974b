"""Masks: audit, review, mend."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..verbs.terminal import Verb, show
from ..words import pair
from .app import DatasetFolder, DeviceOption, app

Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings of the networks of --cross, such as train.epochs=20."),
]


@app.command(
    cls=Verb,
    epilog="Example: maskmend audit DATASET -o AUDIT --cross 2; after `maskmend review AUDIT`, again with --again",
)
def audit(
    dataset: DatasetFolder,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="AUDIT", help="Folder for findings, suggestions and report.html.")
    ],
    overrides: Settings = None,
    cross: Annotated[
        int | None,
        typer.Option(metavar="N", help="Train N networks to judge, such as 2."),
    ] = None,
    method: Annotated[str | None, typer.Option(help="How they learn; by default plain training.")] = None,
    run: Annotated[
        list[Path] | None, typer.Option(metavar="RUN", help="A run of yours judges what it did not learn from.")
    ] = None,
    nnunet: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="nnU-Net's TRAINER__PLANS__CONFIG: its folds judge.")
    ] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="NAME.npz or masks, predicted by whoever did not learn them."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Let the masks that you reviewed judge the others.")] = False,
    no_checks: Annotated[bool, typer.Option("--no-checks", help="Leave out what is found without a judge.")] = False,
    tolerance_mm: Annotated[
        float | None, typer.Option(min=0, help="Differences of this depth are no finding; by default one voxel.")
    ] = None,
    engine: Annotated[Literal["local", "ray", "slurm"], typer.Option(help="Where networks are trained.")] = "local",
    jobs: Annotated[int | None, typer.Option(min=0, help="Trainings at a time.")] = None,
    option: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Of --engine ray or slurm.")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Find the masks that are wrong, and where: by checks, and by networks if you like."""
    from ..verbs.audit import audit

    judges: dict[str, Any] = {"runs": run or (), "nnunet": nnunet, "predictions": predictions or (), "cross": cross}
    where: dict[str, Any] = {"engine": engine, "jobs": jobs, "options": dict(map(pair, option or [])), "device": device}
    how: dict[str, Any] = {"method": method, "overrides": overrides or (), "tolerance_mm": tolerance_mm, "again": again}
    show(audit(dataset, output, checks=not no_checks, **judges, **where, **how).table())


@app.command(cls=Verb, epilog="Example: maskmend review AUDIT")
def review(
    audit: Annotated[Path, typer.Argument(metavar="AUDIT", help="Folder that `maskmend audit` made.")],
    reviewer: Annotated[str | None, typer.Option(metavar="NAME", help="Who reviews; by default your login.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of this machine; by default any that is free.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address only.")] = False,
    blind: Annotated[
        float, typer.Option(min=0, max=1, help="Share of undoubted cases mixed in, and of suggestions hidden at first.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="Chooses these.")] = 0,
    open_with: Annotated[
        Literal["slicer", "itksnap", "napari"] | None,
        typer.Option("--open", help="Edit one case in this program instead, and take back what you save."),
    ] = None,
    case: Annotated[str | None, typer.Option(metavar="CASE", help="With --open; by default the next one.")] = None,
) -> None:
    """Look at what is doubted, in your browser: accept, refuse, redraw. Nothing leaves this machine."""
    from ..verbs.review import review

    asked: dict[str, Any] = {"reviewer": reviewer, "port": port, "browser": not no_browser, "blind": blind}
    show(review(audit, **asked, seed=seed, open_with=open_with, case=case).table())


@app.command(cls=Verb, epilog="Example: maskmend mend AUDIT -o Dataset002_Mended")
def mend(
    audit: Annotated[Path, typer.Argument(metavar="AUDIT", help="Folder that `maskmend audit` made.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DATASET", help="New data set.")],
    accept: Annotated[
        Literal["reviewed", "automatic", "all"],
        typer.Option(
            help="Which corrections are taken: what you accepted or drew; also masks that can be redrawn; also every "
            "suggestion."
        ),
    ] = "reviewed",
    doubtful: Annotated[
        Literal["keep", "ignore", "weights"],
        typer.Option(
            help="What becomes of doubted places that nobody decided: they stay as given; or nobody learns from them "
            "(nnU-Net's ignore label); or weightsTr/ says how far each voxel may be believed, from 0 to 1."
        ),
    ] = "keep",
    dicom_seg: Annotated[
        Path | None,
        typer.Option(
            "--dicom-seg", metavar="SERIES", help="Folder of DICOM it was prepared of: write DICOM-SEG of what changed."
        ),
    ] = None,
) -> None:
    """Write a new data set with the corrected masks, and show what was changed."""
    from ..verbs.mend import mend

    result = mend(audit, output, accept=accept, doubtful=doubtful, dicom_seg=dicom_seg)
    show(result.table())
    if result.output is None:  # what comes next would look for it
        raise typer.Exit(1)
