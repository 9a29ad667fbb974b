"""`maskmend methods`: what each method is, where it comes from, what it needs and what can be set."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from .. import methods as library
from ..networks import Network, NetworkConfig, build

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from rich.console import RenderableType
    from rich.table import Table


@dataclass(frozen=True)
class Parameter:
    """One setting: ``maskmend train … method.<name>=value``."""

    name: str
    type: str
    default: Any
    source: str
    candidates: tuple[float, ...] = ()
    """Values its search tries, where the method can choose it by itself."""


@dataclass(frozen=True)
class Description:
    """One method, as its own file describes it."""

    name: str
    summary: str
    paper: str
    supervision: tuple[str, ...]
    maps: tuple[str, ...]
    networks: tuple[str, ...]
    parameters: tuple[Parameter, ...]

    def table(self) -> RenderableType:
        """Everything about it, to print with rich."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        facts = Table.grid(padding=(0, 2))
        facts.add_row("paper", Text(self.paper))
        facts.add_row("supervision", ", ".join(self.supervision))
        facts.add_row("maps", ", ".join(self.maps) or "none")
        facts.add_row("networks", ", ".join(self.networks))
        table = _table("parameter", "type", "default", "what it is, and its source")
        for p in self.parameters:
            search = f"; its search tries {p.candidates[0]:g} to {p.candidates[-1]:g}" if p.candidates else ""
            table.add_row(*(Text(cell) for cell in (f"method.{p.name}", p.type, str(p.default), p.source + search)))
        return Group(Text(f"{self.name}: {self.summary}"), facts, table)


@dataclass(frozen=True)
class Catalogue:
    """Every method that comes with MaskMend."""

    methods: tuple[Description, ...]

    def table(self) -> Table:
        """One row each, to print with rich."""
        from rich.text import Text

        table = _table("method", "what it is", "paper", "supervision", "maps", "networks")
        for m in self.methods:
            cells = (m.name, m.summary, m.paper, *map(", ".join, (m.supervision, m.maps, m.networks)))
            table.add_row(*(Text(cell) for cell in cells))
        return table


def methods(name: str | None = None) -> Catalogue | Description:
    """All methods, or everything about the one of this name (or of an importable module: "my_lab.my_method").

    Raises:
        InputError: there is no method of this name.
    """
    return describe(name) if name else Catalogue(tuple(describe(each) for each in library.names()))


def describe(name: str) -> Description:
    """What the method's file says: its docstring, its class attributes and its ``Config``.

    Its networks are found by letting it build them from next to nothing.
    """
    method, settings = library.find(name)
    made = method(partial(build, NetworkConfig(width=1, strides=()), 1, 2, 2), settings())
    return Description(
        name=name,
        summary=(sys.modules[method.__module__].__doc__ or "").strip().partition("\n")[0],
        paper=method.paper,
        supervision=method.supervision,
        maps=made.maps,
        networks=tuple(child for child, module in made.named_children() if isinstance(module, Network)),
        parameters=tuple(
            Parameter(
                name=key,
                type=_type(field),
                default=field.get_default(call_default_factory=True),
                source=field.description or "",
                candidates=method.search.get(key, ()),
            )
            for key, field in settings.model_fields.items()
        ),
    )


def _type(field: FieldInfo) -> str:
    """`Literal["ce", "dice"]` -> "ce | dice"; `float` with bounds -> "float ≥ 0 < 1"."""
    return " ".join([_words(field.annotation), *_bounds(field.metadata)])


def _words(kind: Any) -> str:
    """`float | Literal["auto"]` -> "float | auto"; `tuple[float, ...]` -> "[float, …]", as it is written."""
    parts = get_args(kind)
    if get_origin(kind) is Annotated:
        metadata = (limit for each in parts[1:] for limit in getattr(each, "metadata", [each]))
        return " ".join([_words(parts[0]), *_bounds(metadata)])
    if get_origin(kind) is tuple:
        return f"[{', '.join('…' if part is Ellipsis else _words(part) for part in parts)}]"
    if get_origin(kind) is Literal:
        return " | ".join(map(str, parts))
    if get_origin(kind) in (Union, UnionType):
        return " | ".join("None" if part is type(None) else _words(part) for part in parts)
    return kind.__name__ if isinstance(kind, type) and not parts else str(kind)


def _bounds(metadata: Iterable[Any]) -> list[str]:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    return [
        f"{sign} {getattr(limit, key):g}" for limit in metadata for key, sign in signs.items() if hasattr(limit, key)
    ]


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
