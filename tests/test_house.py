"""The house rules: what may import what, how long things may get, and what must never be written."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import torch

from maskmend.types import Batch, Progress

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "maskmend"
FILES = sorted(PACKAGE.rglob("*.py"))

BASE = {"types", "errors", "progress", "texts", "plain_yaml", "words"}
TOOLS = BASE | {"functional"}
LEARN = TOOLS | {"networks", "methods"}
ENGINE = LEARN | {"noise", "data", "metrics", "engine"}
RUNS = ENGINE | {"infer", "config", "runs"}
AUDIT = RUNS | {"audit"}
VERBS = AUDIT | {"review", "mending", "prepare", "bench", "verbs"}
MAY_IMPORT = {  # room -> rooms of ours it may lead to, itself aside
    "types": set(),
    "errors": set(),
    "progress": set(),
    "texts": {"errors"},
    "plain_yaml": {"texts"},
    "words": {"errors", "texts", "plain_yaml"},
    "functional": BASE,
    "noise": TOOLS,
    "data": TOOLS,
    "metrics": TOOLS,
    "networks": TOOLS,
    "methods": TOOLS,
    "engine": ENGINE,
    "infer": ENGINE,
    "config": ENGINE | {"infer"},
    "prepare": TOOLS | {"data"},
    "runs": RUNS,
    "audit": RUNS,
    "review": AUDIT,
    "mending": AUDIT | {"review"},
    "bench": AUDIT | {"review", "prepare"},
    "verbs": VERBS,
    "cli": VERBS,
    "__init__": VERBS,
    "__main__": {"cli"},
}
EXCEPTIONS = {("data.phantom", "noise")}
METHOD_NAMES = {path.stem for path in (PACKAGE / "methods").glob("*.py")} - {"__init__", "base"}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def place(path: Path) -> str:
    """`src/maskmend/data/phantom.py` -> "data.phantom", `src/maskmend/data/__init__.py` -> "data.__init__"."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def is_module(name: str) -> bool:
    path = PACKAGE.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every import of ours in a file, lazy ones too, as (line, "methods.base")."""
    package = place(path).split(".")[:-1]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (
                (node.lineno, a.name.removeprefix("maskmend.")) for a in node.names if a.name.startswith("maskmend")
            )
        elif isinstance(node, ast.ImportFrom):
            words = (node.module or "").split(".") if node.module else []
            if node.level:
                words = [*package[: len(package) - node.level + 1], *words]
            elif words[0] != "maskmend":
                continue
            else:
                words = words[1:]
            for alias in node.names:
                inner = ".".join([*words, alias.name])
                yield node.lineno, inner if not words or is_module(inner) else ".".join(words)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function, its docstring aside."""
    doc = node.body[0] if ast.get_docstring(node, clean=False) is not None else None
    return node.end_lineno - node.lineno + 1 - (doc.end_lineno - doc.lineno + 1 if doc else 0)


def calls(path: Path) -> Iterator[tuple[ast.Call, str]]:
    return ((node, ast.unparse(node.func)) for node in ast.walk(tree(path)) if isinstance(node, ast.Call))


def keyword(call: ast.Call, name: str) -> object:
    """The literal value of a keyword, or None."""
    value = next((k.value for k in call.keywords if k.arg == name), None)
    return value.value if isinstance(value, ast.Constant) else None


def test_the_walk_sees_imports() -> None:
    seen = {(place(path), target) for path in FILES for _, target in imports(path)}
    assert ("methods.supervised", "functional.losses") in seen
    assert ("methods.supervised", "types") in seen
    assert ("methods.supervised", "methods.base") in seen
    assert ("cli.learn", "verbs.train") in seen  # inside a function


def test_every_room_is_in_the_plan() -> None:
    assert {place(path).split(".")[0] for path in FILES} <= MAY_IMPORT.keys()


def test_no_circle_between_rooms() -> None:
    leads: dict[str, set[str]] = {room: set() for room in MAY_IMPORT}
    for path in FILES:
        room = place(path).split(".")[0]
        leads[room] |= {to for _, target in imports(path) if (to := target.split(".")[0]) in leads and to != room}
    TopologicalSorter(leads).prepare()  # raises CycleError


@pytest.mark.parametrize("path", FILES, ids=place)
def test_imports_lead_one_way(path: Path) -> None:
    here = place(path)
    room = here.split(".")[0]
    for line, target in imports(path):
        to = target.split(".")[0]
        allowed = to == room or to in MAY_IMPORT[room] or (here, to) in EXCEPTIONS or not is_module(to)
        assert allowed, f"{path}:{line}: {room} must not import {to}"
        if room == "methods" and to == "methods" and here != "methods.__init__":
            assert target == "methods.base", f"{path}:{line}: a method must not import another method"
        if room != "methods":
            assert target.rpartition(".")[2] not in METHOD_NAMES, (
                f"{path}:{line}: nothing outside methods/ knows a particular method"
            )


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name != "methods"], ids=place)
def test_nothing_branches_on_a_method(path: Path) -> None:
    for node in ast.walk(tree(path)):
        parts: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.match_case):
            parts = [node.pattern]
        for constant in (n for part in parts for n in ast.walk(part) if isinstance(n, ast.Constant)):
            assert constant.value not in METHOD_NAMES, (
                f"{path}:{constant.lineno}: compares with the method {constant.value!r}"
            )


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name == "functional"], ids=place)
def test_functional_is_documented(path: Path) -> None:
    assert ast.get_docstring(tree(path)), f"{path} has no docstring"
    for node in tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path}:{node.lineno}: {node.name} has no docstring"


def test_the_tail_is_short() -> None:
    long_files = [
        f"{path}: {lines} lines" for path in FILES if (lines := len(path.read_text("utf-8").splitlines())) > 320
    ]
    long_functions = [
        f"{p}:{f.lineno} {f.name}: {length(f)} lines" for p in FILES for f in functions(p) if length(f) > 45
    ]
    assert not long_files + long_functions, "\n".join(long_files + long_functions)


@pytest.mark.parametrize("path", FILES, ids=place)
def test_nothing_unpickles(path: Path) -> None:
    for call, name in calls(path):
        if name == "torch.load":
            assert keyword(call, "weights_only") is True, f"{path}:{call.lineno}: torch.load without weights_only=True"
        assert keyword(call, "allow_pickle") is not True, f"{path}:{call.lineno}: allow_pickle=True"
        assert not name.startswith(("pickle.load", "cPickle.load")), f"{path}:{call.lineno}: {name}"


def test_no_private_path_is_written_down() -> None:
    private = re.compile(r"(?<![\w.])/(?:work|home|root|Users|tmp/mm)/")
    places = ("src", "tests", "docs", "configs", "examples", "benchmarks", ".ci")
    endings = {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".json", ".csv", ""}
    tracked = [p for place in places for p in (ROOT / place).rglob("*") if p.is_file() and p.suffix in endings]
    top = [p for p in ROOT.iterdir() if p.is_file() and p.suffix in endings]
    found = [
        f"{path}:{number}: {line.strip()}"
        for path in [*top, *tracked]
        if path != Path(__file__) and "egg-info" not in str(path)
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if private.search(line)
    ]
    assert not found, "\n".join(found)


def test_the_method_in_contributing_learns(tmp_path: Path) -> None:
    (code,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), flags=re.DOTALL
    )
    path = tmp_path / "my_method.py"
    path.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("maskmend.methods.my_method", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    method = module.MyMethod(lambda: torch.nn.Conv2d(1, 2, 1), module.Config())
    optimiser = torch.optim.SGD(method.parameters(), lr=1.0)
    image = torch.randn(2, 1, 8, 8)
    batch = Batch(image, (image[:, 0] > 0).long(), torch.ones(2), torch.arange(2))

    def update(loss: torch.Tensor, group: str = "main") -> None:
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    losses = [method.step(batch, Progress(0, 1, step, 20), update)["loss"].item() for step in range(20)]
    assert losses[-1] < 0.5 * losses[0]
    assert torch.allclose(method.predict(image).sum(1), torch.ones(2, 8, 8))
