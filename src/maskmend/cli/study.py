"""Looking on: demo, bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..verbs.terminal import Verb, show
from ..words import pair
from .app import DeviceOption, Words, app


@app.command(cls=Verb, epilog="Example: maskmend demo -o demo")
def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder for everything it makes.")
    ] = Path("demo"),
    device: DeviceOption = "auto",
) -> None:
    """See it work: corrupt made-up masks, train on them, compare. Under five minutes."""
    from ..verbs.demo import demo

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
    only: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Only runs of such names: 'lungs/S_R/*', '*seed 0'.")
    ] = None,
) -> None:
    """Compare methods under one protocol. The same command again does what is missing."""
    from ..verbs.bench import bench

    asked = dict(map(pair, options or []))
    raise typer.Exit(bench(plan, output, jobs, engine, device, retry=retry, only=only or (), options=asked).tell(show))
