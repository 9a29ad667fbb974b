"""The command line: it parses, calls the verb of the same name, and prints. Heavy imports wait until a verb runs."""

from __future__ import annotations

import os
import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .errors import InputError
from .verbs.terminal import Verb, numbers, show
from .words import pair

Device = Literal["auto", "cpu", "cuda"]


def _version(asked: bool) -> None:
    if asked:
        from . import __version__

        typer.echo(f"maskmend {__version__}")
        raise typer.Exit


app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def maskmend(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Train segmentation models that are not misled by wrong masks.

    A first look: maskmend demo. With your own data: prepare, train, predict, evaluate.
    """


DatasetFolder = Annotated[
    Path, typer.Argument(metavar="DATASET", help="nnU-Net raw data set: a folder with dataset.json.")
]
Words = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Parameters, as many as you like.")]
DeviceOption = Annotated[Device, typer.Option(help="Where to compute; auto takes a GPU where there is one.")]


@app.command(
    cls=Verb,
    epilog="Example: maskmend prepare polyps/ -o Dataset001_Polyps --test 0.2; or, of a public data set (--list), "
    "maskmend prepare kvasir_seg --from kvasir-seg.zip -o Dataset002_Kvasir",
)
def prepare(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="Folder with images/ and masks/ (or masks/RATER/), or with an MSD dataset.json; or a public "
            "data set's name.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DATASET", help="New nnU-Net data set.")
    ] = None,
    archive: Annotated[
        Path | None, typer.Option("--from", metavar="ARCHIVE", help="Of a public data set, as it was downloaded.")
    ] = None,
    test: Annotated[float, typer.Option(help="Share of the cases kept apart for testing.")] = 0.0,
    threshold: Annotated[int, typer.Option(help="Grey masks: foreground is what is above this value.")] = 127,
    seed: Annotated[int, typer.Option(help="Chooses the test cases.")] = 0,
    partial: Annotated[bool, typer.Option("--partial", help="Take an archive that is not whole.")] = False,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Take masks most of which are empty, as of slices of volumes.")
    ] = False,
    listing: Annotated[bool, typer.Option("--list", help="The public data sets, and where each is obtained.")] = False,
) -> None:
    """Turn a folder of images and masks, or a public data set, into an nnU-Net data set."""
    from .verbs.prepare import prepare

    asked: dict[str, Any] = {"archive": archive, "test": test, "threshold": threshold, "seed": seed, "partial": partial}
    show(prepare(None if listing else source, output, allow_empty=allow_empty, **asked).table())


@app.command(
    cls=Verb,
    epilog="Example: maskmend simulate DATASET -o NOISY --noise markov steps=200 preference=0.2 variance=0.05 "
    "--fraction 1.0 --seed 0",
)
def simulate(
    dataset: DatasetFolder,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="NOISY", help="New data set with the corrupted masks.")
    ],
    noise: Annotated[
        str,
        typer.Option(
            help="Kind of noise: affine, dilate_erode, dilate_erode_area, dilate_erode_cube, markov, missing, mlb_seg, "
            "random_rater, self_cleansing, sp_guided."
        ),
    ],
    parameters: Words = None,
    fraction: Annotated[float, typer.Option(help="Share of the training masks to corrupt.")] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same masks.")] = 0,
    target_dice: Annotated[
        float | None, typer.Option(help="Make the noise as strong as it must be to leave this Dice.")
    ] = None,
) -> None:
    """Corrupt the training masks of a data set, and remember what was done to each."""
    from .verbs.simulate import simulate

    settings: dict[str, Any] = {"parameters": dict(map(pair, parameters or [])), "fraction": fraction, "seed": seed}
    if target_dice is not None:
        settings["target_dice"] = target_dice
    result = simulate(dataset, output, noise=noise, **settings)
    mean, sd = result.dice()
    done = f"{len(result.corrupted)} of {len(result.cases)} masks corrupted"
    show(f"{output}: {done}; Dice with the true ones {mean:.3f} ± {sd:.3f} over all cases.")
    if target_dice is not None:
        from .noise.target import words

        show(f"{words(result.noise)} leaves {result.dice_corrupted()[0]:.3f} on the corrupted ones.")


@app.command(cls=Verb, epilog="Example: maskmend train DATASET --method gsd_net -o RUN method.tau=0.06 train.epochs=50")
def train(
    dataset: DatasetFolder,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="RUN", help="Run folder: config, events, checkpoints.")
    ],
    overrides: Words = None,
    method: Annotated[
        str | None,
        typer.Option(help="How to learn; `maskmend methods` lists them. By default that of FILE, or gsd_net."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML settings; key=value words go over them.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run folder's last checkpoint.")] = False,
    device: DeviceOption = "auto",
    fast_dev_run: Annotated[
        bool, typer.Option("--fast-dev-run", help="A few steps of everything, to see that it runs.")
    ] = False,
    search: Annotated[
        str | None,
        typer.Option(metavar="PARAMETER", help="First find this parameter by short trainings: tau of gsd_net, say."),
    ] = None,
    candidates: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="Values that the search tries; else the method's own.")
    ] = None,
    search_epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of each of the search's trainings; else as many as the run's.")
    ] = None,
) -> None:
    """Train a model on masks that are partly wrong."""
    from .verbs.train import train

    words = overrides or []
    asked: dict[str, Any] = {"method": method, "config": config, "resume": resume, "device": device}
    asked["fast_dev_run"] = fast_dev_run
    if search is None and (candidates, search_epochs) != (None, None):
        raise InputError("--candidates and --search-epochs are of a search; add --search PARAMETER, or leave them out.")
    if search is not None:
        from .verbs.search import search as find

        tried = numbers(candidates)
        found = find(dataset, output, search, overrides=words, candidates=tried, epochs=search_epochs, **asked)
        show(found.table())
        words = [*words, found.word]
    result = train(dataset, output, overrides=words, **asked)
    show(result.table())


@app.command(cls=Verb, epilog="Example: maskmend predict RUN scans/ -o OUT --mirror")
def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder that train wrote.")],
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="Folder of images, named as in the training set.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for the masks.")],
    checkpoint: Annotated[Literal["best", "last"], typer.Option(help="Which of the run's two models.")] = "best",
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Write class probabilities as well.")] = False,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Average over mirrored images: slower, often better.")
    ] = False,
    device: DeviceOption = "auto",
) -> None:
    """Segment a folder of images with a trained model."""
    from .verbs.predict import predict

    result = predict(
        run, images, output, checkpoint=checkpoint, probabilities=probabilities, mirror=mirror, device=device
    )
    show(f"{output}: {result.count} masks.")
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
    from .audit.store import is_audit
    from .verbs.evaluate import evaluate

    asked: dict[str, Any] = {"surface": surface, "tolerance_mm": tolerance_mm, "resample": resample}
    if is_audit(predictions):
        from .verbs.grade import grade

        if surface or resample or dataset:
            raise InputError("--surface, --resample and --dataset are of predicted masks; leave them out for an audit.")
        return show(grade(predictions, references, output).table())
    show(evaluate(predictions, references, output, dataset=dataset, **asked).table())


@app.command(cls=Verb, epilog="Example: maskmend methods gsd_net")
def methods(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Show everything about this one.", show_default=False)
    ] = None,
) -> None:
    """List the methods, or one with its paper, needs and parameters."""
    from .verbs.methods import methods

    show(methods(name).table())


@app.command(cls=Verb, epilog="Example: maskmend demo -o demo")
def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder for everything it makes.")
    ] = Path("demo"),
    device: DeviceOption = "auto",
) -> None:
    """See it work: corrupt made-up masks, train on them, compare. Under five minutes."""
    from .verbs.demo import demo

    show(demo(output, device=device).table())


@app.command(cls=Verb, epilog="Example: maskmend bench plans/phantom.yaml -o BENCH --jobs 2")
def bench(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="YAML: data sets, noises, methods, networks, seeds.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for data, runs and scores.")],
    options: Words = None,
    jobs: Annotated[int | None, typer.Option(min=0, help="Runs at a time; 0 runs in this process.")] = None,
    engine: Annotated[Literal["local", "ray", "slurm"], typer.Option(help="KEY=VALUE are its options.")] = "local",
    device: DeviceOption = "auto",
    retry: Annotated[bool, typer.Option("--retry", help="Also run again what failed before.")] = False,
) -> None:
    """Compare methods under one protocol. The same command again does what is missing."""
    from .verbs.bench import bench

    asked = dict(map(pair, options or []))
    raise typer.Exit(bench(plan, output, jobs, engine, device, retry=retry, options=asked).tell(show))


@app.command(cls=Verb, epilog="Example: maskmend fuse DATASET -o FUSED --rule staple")
def fuse(
    dataset: DatasetFolder,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FUSED", help="New data set with fused labels.")],
    rule: Annotated[
        str,
        typer.Option(help="What becomes of the labels in labelsTr_raters: majority, staple, random_rater or cycle."),
    ] = "majority",
    seed: Annotated[int, typer.Option(help="Of random_rater: the same seed takes the same raters.")] = 0,
) -> None:
    """Make one label of those of several raters, and say how well each rater draws."""
    from .verbs.fuse import fuse

    show(fuse(dataset, output, rule=rule, seed=seed).table())


def main() -> None:
    """Entry point of the `maskmend` command."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what is half done is taken away
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - closed by who calls, as by `>&-`
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what cannot be shown, as a name that is not UTF-8, is spelt out
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="maskmend")
