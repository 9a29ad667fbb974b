"""The command itself, and the options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Device = Literal["auto", "cpu", "cuda"]


def _version(asked: bool) -> None:
    if asked:
        from .. import __version__

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

    A first look: maskmend demo. With your own data: prepare, train, predict, evaluate; audit, review, mend.
    """


DatasetFolder = Annotated[
    Path, typer.Argument(metavar="DATASET", help="nnU-Net raw data set: a folder with dataset.json.")
]
Words = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Parameters, as many as you like.")]
DeviceOption = Annotated[Device, typer.Option(help="Where to compute; auto takes a GPU where there is one.")]
