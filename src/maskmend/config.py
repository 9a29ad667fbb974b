"""One run as a file: typed, frozen, strict. Unknown keys are errors that name their neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError

from . import methods
from .data.augment import AugmentConfig
from .data.plan import DataConfig
from .engine.events import EventsConfig
from .engine.fit import TrainConfig
from .engine.update import OptimConfig
from .errors import InputError
from .infer.predict import PredictConfig
from .networks import NetworkConfig
from .types import Config
from .words import pair

Tree = dict[str, Any]
C = TypeVar("C", bound=Config)


class RunConfig(Config):
    """Everything that determines a run, except the data themselves. ``config.yaml`` of a run folder is one."""

    method: Tree = Field({"name": "gsd_net"}, description="name, and parameters of that method")
    seed: int = 0
    fold: int | Literal["all"] = Field(0, description="cross-validation fold, or all: train on everything")
    network: NetworkConfig = NetworkConfig()
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()
    optim: OptimConfig = OptimConfig()
    predict: PredictConfig = PredictConfig()
    events: EventsConfig = EventsConfig()

    @property
    def method_name(self) -> str:
        return str(self.method["name"])

    def method_parts(self) -> tuple[type[methods.Method], Config]:
        """The method's class, and its parameters with every default filled in."""
        cls, settings = methods.find(self.method_name)
        own = {name: value for name, value in self.method.items() if name != "name"}
        return cls, parse(settings, own, "method")


def load_config(file: Path | None = None, method: str | None = None, overrides: Sequence[str] = ()) -> RunConfig:
    """Defaults, then the YAML ``file``, then ``method``, then ``a.b=value`` words; the later wins.

    Raises:
        InputError: unreadable file, malformed word, unknown key (its neighbour is named) or wrong value.
    """
    tree = read_tree(file) if file else {}
    if method is not None:
        parameters = tree.get("method", {})
        tree["method"] = parameters if parameters.get("name") == method else {"name": method}
    tree.setdefault("method", {}).setdefault("name", "gsd_net")
    for word in overrides:
        override(tree, word)
    config = parse(RunConfig, tree)
    _, parameters = config.method_parts()
    return config.model_copy(update={"method": {"name": config.method_name, **parameters.model_dump()}})


def read_tree(file: Path) -> Tree:
    """The mapping in a YAML file."""
    try:
        tree = yaml.safe_load(file.read_text()) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{file} cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise InputError(f"{file} must hold keys and values, as `maskmend train` writes them to config.yaml.")
    return tree


def dump(config: Config) -> str:
    """The settings as YAML."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def override(tree: Tree, word: str) -> None:
    """Apply one ``a.b=value`` word."""
    path, value = pair(word)
    *parents, leaf = path.split(".")
    for key in parents:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise InputError(f"{word!r}: {key} is a value, not a group of settings.")
    tree[leaf] = value


def parse(cls: type[C], tree: Mapping[str, Any], place: str = "") -> C:
    """``cls`` from a mapping.

    Raises:
        InputError: one sentence about the first key that is unknown or whose value does not fit.
    """
    try:
        return cls.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([place, *map(str, first["loc"])]).strip(".")
        if first["type"] == "extra_forbidden":
            raise InputError(f"unknown setting {where}; {_neighbours(cls, first['loc'])}") from None
        raise InputError(f"{where}={first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}.") from None


def _neighbours(cls: type[Config], location: tuple[int | str, ...]) -> str:
    for key in location[:-1]:
        inner = cls.model_fields[str(key)].annotation
        if not (isinstance(inner, type) and issubclass(inner, Config)):
            break
        cls = inner
    near = get_close_matches(str(location[-1]), cls.model_fields, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(cls.model_fields)}."
