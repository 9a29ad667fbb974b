"""The methods of this folder. A file here *is* the registration."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules

from ..errors import InputError
from ..types import Config
from .base import Build, Method

__all__ = ["Build", "Method", "find", "names"]


def names() -> list[str]:
    """Every method that comes with MaskMend."""
    return sorted(module.name for module in iter_modules(__path__) if module.name != "base")


def find(name: str) -> tuple[type[Method], type[Config]]:
    """Method class and settings class of "gsd_net", or of any importable module: "my_lab.my_method".

    Raises:
        InputError: there is no such module, or it does not define exactly one ``Method``.
    """
    if "." not in name and name not in names():
        near = get_close_matches(name, names(), n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names())}."
        raise InputError(f"unknown method {name!r}; {hint}")
    try:
        module = import_module(name if "." in name else f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        raise InputError(
            f"method {name!r}: there is no module {error.name!r}; check the name and PYTHONPATH."
        ) from None
    found = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Method)]
    own = [cls for cls in found if cls.__module__ == module.__name__]
    if len(own) != 1 or "Config" not in vars(module):
        raise InputError(
            f"method {name!r}: {module.__file__} must define one Method and its Config, and no other Method."
        )
    return own[0], vars(module)["Config"]
