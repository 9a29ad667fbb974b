"""Models: train, predict, evaluate, export, methods."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..errors import InputError
from ..verbs.terminal import Verb, numbers, show
from ..words import pair, start_words
from .app import DatasetFolder, DeviceOption, Words, app

AuditOption = Annotated[
    Path | None,
    typer.Option(
        metavar="AUDIT", help="Take tau from this audit of DATASET: for methods that have one; robust has none."
    ),
]

StartOption = Annotated[
    Path | None,
    typer.Option("--from", metavar="RUN|FILE", help="Start from the weights of this run, or of .pt, .safetensors."),
]
CheckOption = Annotated[
    bool, typer.Option("--check", help="Read every file again, also those that look unchanged since an earlier run.")
]
SearchOption = Annotated[
    str | None,
    typer.Option(metavar="PARAMETER", help="First find this parameter by short trainings: tau of gsd_net, say."),
]


@app.command(cls=Verb, epilog="Example: maskmend train DATASET --method gsd_net -o RUN method.tau=0.06 train.epochs=50")
def train(
    dataset: DatasetFolder,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="RUN", help="Run folder: config, events, checkpoints.")
    ],
    overrides: Words = None,
    method: Annotated[
        str | None,
        typer.Option(help="How to learn; `maskmend methods` lists them. By default that of FILE, or robust."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML settings; key=value words go over them.")
    ] = None,
    start: StartOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run folder's last checkpoint.")] = False,
    device: DeviceOption = "auto",
    fast_dev_run: Annotated[
        bool, typer.Option("--fast-dev-run", help="A few steps of everything, to see that it runs.")
    ] = False,
    check: CheckOption = False,
    search: SearchOption = None,
    audit: AuditOption = None,
    candidates: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="Values that the search tries; else the method's own.")
    ] = None,
    search_epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of each of the search's trainings; else as many as the run's.")
    ] = None,
) -> None:
    """Train a model on masks that are partly wrong."""
    from ..verbs.train import train

    overrides = [*(overrides or []), *start_words(start)]
    asked: dict[str, Any] = {"method": method, "config": config, "resume": resume, "device": device}
    asked["fast_dev_run"] = fast_dev_run
    words = [*overrides, *_from_audit(audit, dataset, output, overrides, search, asked)]
    if search is None and (candidates, search_epochs) != (None, None):
        raise InputError("--candidates and --search-epochs are of a search; add --search PARAMETER, or leave them out.")
    if search is not None:
        from ..verbs.search import search as find

        tried = numbers(candidates)
        found = find(dataset, output, search, overrides=words, candidates=tried, epochs=search_epochs, **asked)
        show(found.table())
        words = [*words, found.word]
    show(train(dataset, output, overrides=words, check=check, **asked).table())


def _from_audit(
    audit: Path | None, dataset: Path, output: Path, words: list[str], search: str | None, asked: dict[str, Any]
) -> list[str]:
    """The setting that the audit, if any, tells."""
    if audit is None:
        return []
    from ..verbs.train import begun, tau_of

    if search == "tau":
        raise InputError("--search tau and --audit both tell the share of wrong pixels; leave one out.")
    taken = tau_of(audit, dataset, asked["method"], asked["config"] or begun(output, asked["resume"]), words)
    show(taken.table())
    return [taken.word]


@app.command(cls=Verb, epilog="Example: maskmend predict RUN scans/ -o OUT --mirror")
def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder that train wrote.")],
    images: Annotated[
        Path, typer.Argument(metavar="IMAGES", help="Folder of images, named as in the training set, or of DICOM.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for the masks.")],
    options: Words = None,
    checkpoint: Annotated[Literal["best", "last"], typer.Option(help="Which of the run's two models.")] = "best",
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Write class probabilities as well.")] = False,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Average over mirrored images: slower, often better.")
    ] = False,
    dicom_seg: Annotated[
        bool, typer.Option("--dicom-seg", help="Of DICOM series: write a DICOM-SEG for each as well.")
    ] = False,
    part: Annotated[
        str | None, typer.Option(metavar="K/N", help="Only the K-th of N parts of the cases: one for each machine.")
    ] = None,
    engine: Annotated[Literal["local", "ray", "slurm"], typer.Option(help="KEY=VALUE are its options.")] = "local",
    jobs: Annotated[int | None, typer.Option(min=0, help="Tasks, at a time, that the cases are dealt to.")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Segment a folder of images with a trained model. The same command again does what is missing."""
    from ..verbs.predict import predict

    asked: dict[str, Any] = {"probabilities": probabilities, "mirror": mirror, "dicom_seg": dicom_seg}
    where: dict[str, Any] = {"part": part, "engine": engine, "jobs": jobs, "options": dict(map(pair, options or []))}
    result = predict(run, images, output, checkpoint=checkpoint, device=device, **asked, **where)
    show(result.table())
    for name, reason in result.failures:
        typer.secho(f"failed: {name}: {reason}", fg="red", err=True)
    if result.failures:
        raise typer.Exit(1)


@app.command(cls=Verb, epilog="Example: maskmend evaluate OUT DATASET/labelsTs -o summary.json")
def evaluate(
    predictions: Annotated[Path, typer.Argument(metavar="PREDICTIONS", help="Folder of predicted masks.")],
    references: Annotated[Path, typer.Argument(metavar="REFERENCES", help="Folder of true masks of the same names.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="nnU-Net's summary.json, and cases.csv beside it; by default in PREDICTIONS.",
        ),
    ] = None,
    surface: Annotated[bool, typer.Option("--surface", help="Also HD95, ASSD, ASD and NSD, slower.")] = False,
    tolerance_mm: Annotated[
        float, typer.Option(min=0, help="NSD: how far surfaces may lie apart; pixels where files know no mm.")
    ] = 1.0,
    resample: Annotated[
        bool, typer.Option("--resample", help="Bring masks on another grid to the reference's, by the nearest voxel.")
    ] = False,
    dataset: Annotated[
        Path | None,
        typer.Option(metavar="DATASET", help="Whose dataset.json names classes; by default the one near REFERENCES."),
    ] = None,
) -> None:
    """Dice and Jaccard of predicted masks, per case and class, and distances between surfaces.

    Of an audit instead of PREDICTIONS: how well it ranks, places and mends what is wrong, where the truth is known.
    """
    from ..audit.store import is_audit
    from ..verbs.evaluate import evaluate

    asked: dict[str, Any] = {"surface": surface, "tolerance_mm": tolerance_mm, "resample": resample}
    if is_audit(predictions):
        from ..verbs.grade import grade

        if surface or resample or dataset:
            raise InputError("--surface, --resample and --dataset are of predicted masks; leave them out for an audit.")
        return show(grade(predictions, references, output).table())
    show(evaluate(predictions, references, output, dataset=dataset, **asked).table())


@app.command(cls=Verb, epilog="Example: maskmend export RUN -o MODEL")
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder that train wrote.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="New folder: ONNX, TorchScript and a MONAI bundle.")
    ],
    checkpoint: Annotated[Literal["best", "last"], typer.Option(help="Which of the run's two models.")] = "best",
) -> None:
    """Write a trained model as ONNX and as a MONAI bundle, its preprocessing with it."""
    from ..verbs.export import export

    show(export(run, output, checkpoint=checkpoint).table())


@app.command(cls=Verb, epilog="Example: maskmend methods gsd_net")
def methods(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Show everything about this one.", show_default=False)
    ] = None,
    advise: Annotated[
        Path | None,
        typer.Option(metavar="DATASET|AUDIT", help="Name the method for this data set, or after this audit, and why."),
    ] = None,
) -> None:
    """List the methods, or one with its paper, needs and parameters."""
    from ..verbs.methods import methods

    if advise is None:
        return show(methods(name).table())
    from ..audit.advice import advise as advised

    if name is not None:
        raise InputError(f"{name} and --advise: one shows a method, the other names one; leave one out.")
    show(advised(advise).table())
