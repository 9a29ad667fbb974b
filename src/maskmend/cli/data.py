"""Data sets: prepare, simulate, fuse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..verbs.terminal import Verb, show
from ..words import pair
from .app import DatasetFolder, Words, app


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
            help="Folder with images/ and masks/ (or masks/RATER/), with an MSD dataset.json, or with DICOM series and "
            "masks; or a public data set's name.",
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
    structures: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="Of DICOM masks, take these alone; by default all.")
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="The public data sets, and where each is obtained.")] = False,
) -> None:
    """Turn a folder of images and masks, or a public data set, into an nnU-Net data set."""
    from ..verbs.prepare import prepare

    asked: dict[str, Any] = {"archive": archive, "test": test, "threshold": threshold, "seed": seed, "partial": partial}
    asked["structures"] = tuple(name.strip() for name in (structures or "").split(",") if name.strip())
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
            help="Kind of noise: affine, dilate_erode, dilate_erode_area, dilate_erode_cube, markov, missing, mixture, "
            "mlb_seg, random_rater, self_cleansing, sp_guided."
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
    from ..verbs.simulate import simulate

    settings: dict[str, Any] = {"parameters": dict(map(pair, parameters or [])), "fraction": fraction, "seed": seed}
    if target_dice is not None:
        settings["target_dice"] = target_dice
    result = simulate(dataset, output, noise=noise, **settings)
    mean, sd = result.dice()
    done = f"{len(result.corrupted)} of {len(result.cases)} masks corrupted"
    show(f"{output}: {done}; Dice with the true ones {mean:.3f} ± {sd:.3f} over all cases.")
    if target_dice is not None:
        from ..noise.target import words

        show(f"{words(result.noise)} leaves {result.dice_corrupted()[0]:.3f} on the corrupted ones.")


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
    from ..verbs.fuse import fuse

    show(fuse(dataset, output, rule=rule, seed=seed).table())
