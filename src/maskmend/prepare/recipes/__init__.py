"""Recipes for public data sets: one file each, and the file is the registration. Nothing is ever downloaded."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from ...data.layout import nearest
from ...errors import InputError
from .base import Archive, Recipe, open_archive

__all__ = ["Archive", "Recipe", "find", "open_archive", "recipes"]


@cache
def recipes() -> dict[str, Recipe]:
    """Every recipe by name: those that a file of this folder lists in ``RECIPES``."""
    names = sorted(module.name for module in iter_modules(__path__) if module.name not in ("base", "pairs"))
    found = (recipe for name in names for recipe in import_module(f".{name}", __name__).RECIPES)
    return {recipe.name: recipe for recipe in found}


def find(name: str) -> Recipe:
    """The recipe of this name. Raises InputError that names the nearest, and all."""
    if name not in recipes():
        raise InputError(f"there is no recipe {name!r}{nearest(name, recipes())}; take one of {', '.join(recipes())}.")
    return recipes()[name]
