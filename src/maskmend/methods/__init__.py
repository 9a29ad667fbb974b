"""The methods of this folder. A file here *is* the registration."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules

from ..errors import InputError
from ..types import Config
from .base import Build, Method

__all__ = ["DEFAULT", "Build", "Method", "find", "names"]

DEFAULT = "robust"
"""The method of a run that asks for none: it needs no clean masks, and nobody to say how many are wrong."""


def names() -> list[str]:
    """Every method that comes with MaskMend."""
    return sorted(module.name for module in iter_modules(__path__) if module.name != "base")


def find(name: str) -> tuple[type[Method], type[Config]]:
    """Method class and settings class of "gsd_net", or of any module that Python can import: "my_lab.my_method".

    Raises:
        InputError: there is no such module, or it does not define exactly one ``Method``.
    """
    if not all(map(str.isidentifier, name.split("."))):
        raise InputError(_unknown(name, name))
    try:
        module = import_module(f"{__name__}.{name}" if name in names() else name)
    except ModuleNotFoundError as error:
        raise InputError(_unknown(name, error.name or name)) from None
    found = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Method)]
    own = [cls for cls in found if cls.__module__ == module.__name__]
    if len(own) != 1 or "Config" not in vars(module):
        place = getattr(module, "__file__", None) or module.__name__
        raise InputError(f"method {name!r}: {place} must define one Method and its Config, and no other Method.")
    return own[0], vars(module)["Config"]


def _unknown(name: str, module: str) -> str:
    if not name.startswith(module):
        return f"method {name!r} imports {module!r}, which is not installed; install it."
    if near := get_close_matches(name, names(), n=1, cutoff=0.5):
        return f"unknown method {name!r}; did you mean {near[0]!r}?"
    return (
        f"unknown method {name!r}; there are {', '.join(names())}, and whatever module PYTHONPATH lets Python import."
    )
