"""One run as a file: typed, frozen, strict. Unknown keys are errors that name their neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError

from . import methods, networks
from .data.augment import AugmentConfig
from .data.plan import DataConfig
from .engine.events import EventsConfig
from .engine.fit import TrainConfig
from .engine.update import OptimConfig
from .errors import InputError
from .infer.predict import PredictConfig
from .networks import NetworkConfig
from .plain_yaml import LARGEST, parse_yaml
from .texts import read_text, shown
from .types import Config
from .words import pair

Tree = dict[str, Any]
Problem = Mapping[str, Any]
C = TypeVar("C", bound=Config)
T = TypeVar("T")


class SettingError(InputError):
    """A setting is wrong; ``key`` is its dotted name."""

    def __init__(self, key: str, sentence: str) -> None:
        super().__init__(sentence)
        self.key = key


class RunConfig(Config):
    """Everything that determines a run, except the data themselves. ``config.yaml`` of a run folder is one."""

    method: Tree = Field({"name": methods.DEFAULT}, description="name, and parameters of that method")
    seed: int = Field(0, ge=0, description="the same seed and data, the same run")
    fold: int | Literal["all"] = Field(0, description="cross-validation fold, or all: train on everything")
    start: str | None = Field(None, description="run folder or file of weights that the networks start from")
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
    """Defaults, those of the method, the YAML ``file``, ``method``, ``a.b=value`` words; the later wins.

    Raises:
        InputError: unreadable file, malformed word, unknown key (its neighbour is named) or wrong value.
    """
    tree = read_tree(file) if file else {}
    try:
        return _assemble(tree, method, overrides)
    except SettingError as error:
        said = [word.partition("=")[0] for word in overrides] + ["method.name"] * (method is not None)
        if file is None or any(f"{error.key}.".startswith(f"{key}.") for key in said):
            raise
        raise InputError(f"{file}: {error}") from None


def _assemble(tree: Tree, method: str | None, overrides: Sequence[str]) -> RunConfig:
    own = tree.setdefault("method", {})
    if isinstance(own, dict):
        tree["method"] = {"name": method or methods.DEFAULT} | (own if method in (None, own.get("name")) else {})
    for word in overrides:
        override(tree, word)
    if not isinstance(tree["method"], dict):
        raise SettingError("method", f"method={tree['method']!r}: {_group('method')}.")
    name = tree["method"].setdefault("name", method or methods.DEFAULT)
    cls, settings = _known("method.name", methods.find, str(name))
    tree = _over(cls.defaults, tree)
    config = parse(RunConfig, tree, also=tuple(settings_of(settings, "method.")))
    _known("network.name", networks.find, config.network.name)
    _, parameters = config.method_parts()
    return config.model_copy(update={"method": {"name": config.method_name, **parameters.model_dump()}})


def _over(base: Mapping[str, Any], tree: Mapping[str, Any]) -> Tree:
    """``tree`` laid over ``base``, setting by setting. A batch plan is one setting."""
    merged = dict(base)
    for key, value in tree.items():
        below = merged.get(key)
        groups = isinstance(below, Mapping) and isinstance(value, Mapping) and key != "batch"
        merged[key] = _over(below or {}, value) if groups else value
    return merged


def _known(key: str, find: Callable[[str], T], name: str) -> T:
    """What ``find`` knows by a name that stands under ``key``."""
    try:
        return find(name)
    except InputError as error:
        raise SettingError(key, str(error)) from None


def read_tree(file: Path) -> Tree:
    """The mapping in a YAML file.

    Raises:
        InputError: the file is missing, not YAML, or holds something else than keys and values.
    """
    text = read_text(file, "name a YAML file of settings", LARGEST)
    try:
        tree = parse_yaml(text)
    except ValueError as error:
        raise InputError(f"{file} is not YAML of settings ({error}); write KEY: VALUE.") from None
    if tree is None:
        return {}
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
            raise InputError(f"{shown(word)}: {key} is a value, not a group of settings.")
    tree[leaf] = value


def parse(cls: type[C], tree: Mapping[str, Any], place: str = "", also: Sequence[str] = ()) -> C:
    """``cls`` from a mapping. ``also``: settings that lie elsewhere, and may have been meant.

    Raises:
        SettingError: one sentence about the first key that is unknown or whose value does not fit.
    """
    try:
        return cls.model_validate(tree)
    except ValidationError as error:
        problems: list[Problem] = list(error.errors())
    keys, value = _locate(tree, problems[0])
    key = ".".join([place, *keys]).strip(".")
    if problems[0]["type"] == "extra_forbidden":
        known = [*settings_of(cls, f"{place}." if place else ""), *also]
        raise SettingError(key, f"unknown setting {key}; {_instead(key, known)}")
    why = {_reason(problem, key): None for problem in problems if _locate(tree, problem)[0] == keys}
    raise SettingError(key, f"{f'{key}={shown(value)}: ' if key else ''}{', or '.join(why)}.")


def settings_of(cls: type[Config], place: str = "") -> Iterator[str]:
    """Dotted names of all settings, groups too."""
    for name, field in cls.model_fields.items():
        yield f"{place}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, Config):
            yield from settings_of(field.annotation, f"{place}{name}.")


def _locate(tree: Any, problem: Problem) -> tuple[list[str], Any]:
    """Key and value of the setting that is wrong; pydantic's location goes on into the types that were tried."""
    keys: list[str] = []
    for part in problem["loc"]:
        if not isinstance(tree, Mapping) or (part not in tree and problem["type"] != "missing"):
            break
        keys.append(str(part))
        tree = tree.get(part)
    return keys, tree


def _reason(problem: Problem, key: str) -> str:
    if problem["type"] in ("model_type", "dict_type"):
        return _group(key)
    if problem["type"] == "tuple_type":
        written = f"; write {key}=[{problem['input']}]" if isinstance(problem["input"], int | float) else ""
        return f"it should be a list{written}"
    why = str(problem["msg"]).removeprefix("Value error, ").replace("Input should", "it should", 1)
    return why[0].lower() + why[1:]


def _group(key: str) -> str:
    return f"it is a group of settings; give {key}.NAME=VALUE, or in a file {key}: {{NAME: VALUE}}"


def _instead(key: str, known: Sequence[str]) -> str:
    """The setting that was meant: of this very name elsewhere, of nearly this name here, of nearly this elsewhere."""
    group, _, leaf = key.rpartition(".")
    leaves = {name.rpartition(".")[2]: name for name in reversed(known)}
    here = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == group}
    for names, cutoff in ((leaves, 1.0), (here, 0.6), (leaves, 0.75)):
        if near := get_close_matches(leaf, names, n=1, cutoff=cutoff):
            return f"did you mean {names[near[0]]}?"
    return f"known are {', '.join(here)}."
