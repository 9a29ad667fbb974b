"""YAML as settings need it: values of the types that JSON has too, and every fault a sentence."""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml import MappingNode, MarkedYAMLError, Node, ScalarNode, SequenceNode

from .texts import DEPTH, shown

LARGEST = 2**18
"""Bytes of a file of settings: 256 KiB."""
MOST = 100_000
"""Values in one YAML text, those that an alias repeats included."""
TAG = "tag:yaml.org,2002:"
PLAIN: dict[type[Node], set[str]] = {
    kind: {f"{TAG}{tag}" for tag in tags}
    for kind, tags in (
        (ScalarNode, ("null", "bool", "int", "float", "str")),
        (MappingNode, ("map",)),
        (SequenceNode, ("seq",)),
    )
}
STRANGE = re.compile("[\0\ud800-\udfff]")
"""What YAML can spell, and no file or name can hold: a zero, half a character."""
NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)e[-+]?\d+$", re.IGNORECASE)
"""1e-4, which YAML 1.1 takes for a text: it wants a dot, and a sign."""


class _Loader(yaml.SafeLoader):
    """YAML's own numbers, truths and texts; a date is a text, and so is "="."""


_Loader.yaml_implicit_resolvers = {
    first: [rule for rule in rules if rule[0] not in (f"{TAG}timestamp", f"{TAG}value")]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{TAG}float", NUMBER, list("-+.0123456789"))


def parse_yaml(text: str) -> Any:
    """What a YAML text holds, of the types that JSON has too; keys are texts, as they are written, each once.

    An alias stands for a copy of what it names, and `<<` for the settings of a group that are not given.

    Raises:
        ValueError: why it cannot be read, with the line.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            return None if node is None else _Values(loader).of(node)
        finally:
            loader.dispose()
    except RecursionError:
        raise ValueError(f"it is nested more than {DEPTH} deep") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ValueError(f"line {mark.line + 1 if mark else 1}: {error.problem or error.context}") from None
    except yaml.YAMLError:
        raise ValueError("it is not text") from None


class _Values:
    """The values of a tree of nodes, made one by one, so that aliases neither share nor multiply them unseen."""

    def __init__(self, loader: _Loader) -> None:
        self.loader, self.left = loader, MOST

    def of(self, node: Node, depth: int = 0) -> Any:
        self.left -= 1
        if self.left < 0:
            raise _fault(node, f"there are more than {MOST} values, with what aliases repeat")
        if depth > DEPTH:
            raise RecursionError
        if node.tag not in PLAIN[type(node)]:
            raise _fault(node, f"settings are plain values, not {node.tag.replace(TAG, '!!')}")
        if isinstance(node, MappingNode):
            return self._group(node, depth + 1)
        if isinstance(node, SequenceNode):
            return [self.of(one, depth + 1) for one in node.value]
        if STRANGE.search(node.value):
            raise _fault(node, f"{shown(node.value)} holds what no text should")
        try:
            return self.loader.construct_object(node)
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError, yaml.YAMLError):
            raise _fault(node, f"{shown(node.value)} is no {node.tag.removeprefix(TAG)}") from None

    def _group(self, node: MappingNode, depth: int) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag == f"{TAG}merge":
                for one in value.value if isinstance(value, SequenceNode) else [value]:
                    if not isinstance(one, MappingNode):
                        raise _fault(one, "<< takes a group of settings")
                    merged = self.of(one, depth) | merged
            elif not isinstance(key, ScalarNode) or key.tag not in PLAIN[ScalarNode]:
                raise _fault(key, "a key is a name")
            elif key.value in own:
                raise _fault(key, f"{shown(key.value)} is there twice, remove one")
            else:
                own[key.value] = self.of(value, depth)
        return merged | own


def _fault(node: Node, problem: str) -> MarkedYAMLError:
    return MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
