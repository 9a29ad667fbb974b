"""The ``key=value`` words of the command line."""

from __future__ import annotations

import re
from typing import Any

from .errors import InputError

NUMBER = re.compile(r"[-+]?\d+(\.\d*)?e[-+]?\d+", re.IGNORECASE)
"""1e-4, which YAML 1.1 takes for a text: it wants a dot."""


def pair(word: str) -> tuple[str, Any]:
    """ "shape=[3, 3]" -> ("shape", [3, 3]); the value is YAML.

    Raises:
        InputError: the word is not of the form key=value.
    """
    import yaml

    key, _, text = word.partition("=")
    try:
        if key and text:
            return key, float(text) if NUMBER.fullmatch(text) else yaml.safe_load(text)
    except yaml.YAMLError:
        pass
    raise InputError(f"cannot read {word!r}: write key=value, as in train.epochs=50.")
