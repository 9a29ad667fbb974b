"""The command line: it parses, calls the verb of the same name, and prints. Heavy imports wait until a verb runs."""

from __future__ import annotations

import os
import signal
import sys
from io import TextIOWrapper

from . import data, learn, mend, study
from .app import app

__all__ = ["app", "data", "learn", "main", "mend", "study"]


def main() -> None:
    """Entry point of the `maskmend` command."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what is half done is taken away
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - closed by who calls, as by `>&-`
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what cannot be shown, as a name that is not UTF-8, is spelt out
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="maskmend")
