"""The ``key=value`` words of the command line."""

from __future__ import annotations

from typing import Any

from .errors import InputError


def pair(word: str) -> tuple[str, Any]:
    """ "shape=[3, 3]" -> ("shape", [3, 3]); the value is YAML.

    Raises:
        InputError: the word is not of the form key=value.
    """
    import yaml

    key, _, text = word.partition("=")
    try:
        if key and text:
            return key, yaml.safe_load(text)
    except yaml.YAMLError:
        pass
    raise InputError(f"cannot read {word!r}: write key=value, as in train.epochs=50.")
