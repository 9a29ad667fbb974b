"""The ``key=value`` words of the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .errors import InputError
from .texts import DEPTH, shown


def pair(word: str) -> tuple[str, Any]:
    """ "shape=[3, 3]" -> ("shape", [3, 3]); the value is YAML.

    Raises:
        InputError: the word is not of the form key=value, or a.b=value.
    """
    from .plain_yaml import parse_yaml

    key, _, text = word.partition("=")
    why = ""
    if text and all(key.split(".")) and key.count(".") < DEPTH:
        try:
            return key, parse_yaml(text)
        except ValueError as error:
            why = f" ({str(error).removeprefix('line 1: ')})"
    raise InputError(f"cannot read {shown(word)}{why}: write key=value, as in train.epochs=50.")


def start_words(start: Path | None) -> list[str]:
    """The setting that says where networks start from, if it was asked for; the place holds wherever it is read."""
    return [] if start is None else [f"start={json.dumps(str(Path(start).resolve()), ensure_ascii=False)}"]
