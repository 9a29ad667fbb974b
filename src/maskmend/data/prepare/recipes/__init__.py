"""Recipes for public data sets: one file each, and the file is the registration. Nothing is ever downloaded."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from ....errors import InputError
from .base import Archive, Recipe, unpack

__all__ = ["Archive", "Recipe", "find", "recipes", "unpack"]


@cache
def recipes() -> dict[str, Recipe]:
    """Every recipe by name: those that a file of this folder lists in ``RECIPES``."""
    names = [module.name for module in iter_modules(__path__) if module.name != "base"]
    found = (recipe for name in names for recipe in import_module(f".{name}", __name__).RECIPES)
    return {recipe.name: recipe for recipe in found}


def find(name: str) -> Recipe:
    """The recipe of this name. Raises InputError that names the nearest."""
    if name not in recipes():
        near = get_close_matches(name, recipes(), n=1)
        cure = f"did you mean {near[0]}?" if near else f"there are {', '.join(recipes())}."
        raise InputError(f"there is no recipe {name!r}; {cure}")
    return recipes()[name]
