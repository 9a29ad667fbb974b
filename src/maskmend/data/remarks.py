"""What reading a file has to say besides its content: a warning, unless somebody listens."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_said: ContextVar[list[str] | None] = ContextVar("said", default=None)


def remark(sentence: str) -> None:
    """Tell whoever listens in this thread, else warn."""
    said = _said.get()
    if said is None:
        warnings.warn(sentence, stacklevel=3)
    else:
        said.append(sentence)


@contextmanager
def listening() -> Iterator[list[str]]:
    """All that is remarked within, in this thread; no warning is given."""
    said: list[str] = []
    before = _said.set(said)
    try:
        yield said
    finally:
        _said.reset(before)
