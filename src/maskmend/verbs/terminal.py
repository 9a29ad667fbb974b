"""What every command shares: how it ends, and how it speaks. Imports nothing heavy."""

from __future__ import annotations

import errno
import math
import os
import sys
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand

from ..errors import InputError, full_disk, no_room
from ..texts import shown


class Verb(TyperCommand):
    """A command whose expected failures end in one sentence and an exit code; a bug still shows its traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """An empty word, as of a shell's variable that is not set, would else be this very folder."""
        for before, word in pairwise([str(ctx.info_name), *args]):
            if not word.strip() or (word.startswith("--") and word.endswith("=")):
                fail(f"there is nothing after {before if not word.strip() else word}; name what was meant.")
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            if type(error).__name__ != "MissingParameter" or error.param is None:
                raise
            named = error.param.opts[-1] if error.param.param_type_name == "option" else ""
            fail(f"{named} {error.param.metavar or ''}".strip() + f" is missing. {self.epilog or ''}".rstrip())

    def invoke(self, ctx: Any) -> Any:
        """Exit codes: 2 when the input is wrong, a file or the disk refuses, 130 when interrupted."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _warner()
                return super().invoke(ctx)
        except InputError as error:
            fail(str(error))
        except KeyboardInterrupt:
            goes_on = {"resume": "with --resume goes on from the last checkpoint", "engine": "goes on"}
            again = next((how for name, how in goes_on.items() if name in ctx.params), "starts again")
            typer.secho(f"stopped; the same command {again}.", fg="yellow", err=True)
            raise typer.Exit(130) from None
        except Exception as error:
            sentence = _circumstance(error, ctx.params.get("output") or Path.cwd())
            if sentence is None:
                raise
            fail(sentence)


def _circumstance(error: Exception, output: Path) -> str | None:
    """A sentence for what the machine refuses: room on the disk, a file, memory. None for a bug."""
    if full := full_disk(error):
        place = os.fsdecode(full.filename2 or full.filename or output)
        return f"{place}: {no_room(full)}."
    if isinstance(error, OSError) and error.strerror and error.errno != errno.EPIPE:
        place = os.fsdecode(error.filename or output)
        return f"{place}: {error.strerror.lower()}; check the path and its permissions."
    if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop"):  # Python's, before 3.13
        return f"{str(error)[0].lower()}{str(error)[1:]}; name the file or folder itself."
    if isinstance(error, UnicodeEncodeError):  # a name of a file in another encoding
        what = error.object[max(0, error.start - 40) : error.end + 40]
        return f"{shown(what)} holds a letter that is not UTF-8; rename the file or folder."
    no_memory = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)  # torch's, on a CPU
    if no_memory or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # and on a GPU
        return "the memory does not suffice; take smaller batches or patches, or a larger machine."
    return None


def _warner() -> Callable[..., None]:
    """Shows a warning as a sentence, without the line of code it comes from, and once, however many files it is of."""
    said: set[str] = set()

    def warn(message: Warning | str, *_: Any, **__: Any) -> None:
        if str(message) not in said:
            said.add(str(message))
            typer.secho(f"warning: {message}", fg="yellow", err=True)

    return warn


def fail(sentence: str) -> NoReturn:
    typer.secho(f"error: {sentence}", fg="red", err=True)
    raise typer.Exit(2)


def show(table: Any) -> None:
    """Print a text or a rich table: on the first of several ranks only, and in full width where no terminal is."""
    if os.environ.get("RANK", "0") != "0":
        return
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 200).print(
        table, markup=False, highlight=False, soft_wrap=isinstance(table, str)
    )


def numbers(text: str | None) -> list[float]:
    """ "0.02,0.05" -> [0.02, 0.05]; none of None."""
    if text is None:
        return []
    try:
        found = [float(word) for word in text.split(",") if word.strip()]
    except ValueError:
        found = []
    if not found or not all(map(math.isfinite, found)):
        raise InputError(f"cannot read {shown(text)}: write numbers between commas, as in 0.02,0.05,0.1.")
    return found
