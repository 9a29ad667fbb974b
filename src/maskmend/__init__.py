"""MaskMend: segmentation models that are not misled by wrong masks.

Every verb of the command line is a function here: `from maskmend import train`. Nothing heavy is imported until
one of them is asked for.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .prepare import prepare
    from .verbs.audit import audit
    from .verbs.demo import demo
    from .verbs.evaluate import evaluate
    from .verbs.export import export
    from .verbs.fuse import fuse
    from .verbs.grade import grade
    from .verbs.mend import mend
    from .verbs.predict import predict
    from .verbs.review import review
    from .verbs.simulate import simulate
    from .verbs.train import train

    __version__: str

__all__ = [
    "__version__",
    "audit",
    "demo",
    "evaluate",
    "export",
    "fuse",
    "grade",
    "mend",
    "predict",
    "prepare",
    "review",
    "simulate",
    "train",
]

_HOMES = {
    "prepare": ".prepare",
    "simulate": ".verbs.simulate",
    "train": ".verbs.train",
    "predict": ".verbs.predict",
    "evaluate": ".verbs.evaluate",
    "export": ".verbs.export",
    "fuse": ".verbs.fuse",
    "demo": ".verbs.demo",
    "audit": ".verbs.audit",
    "review": ".verbs.review",
    "mend": ".verbs.mend",
    "grade": ".verbs.grade",
}


def __getattr__(name: str) -> Any:
    """The version, or a verb's function, found when it is first asked for (PEP 562) and kept."""
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version(__name__)
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name], __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


class _Package(ModuleType):
    """Where a room has the name of a verb, as ``prepare``, the verb keeps it: ``maskmend.prepare`` is the function,
    whether or not the room was imported. The room's files are had by ``from maskmend.prepare import sources``."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
