"""Every command and every Python block of the README and the how-tos runs, on a tiny stand-in for the reader's data."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from tests.dicoms import make_hospital
from typer.testing import CliRunner

from maskmend import prepare
from maskmend.cli import app
from maskmend.config import RunConfig, load_config
from maskmend.data.dataset import write_dataset
from maskmend.data.formats import Geometry, write_image, write_label
from maskmend.data.phantom import render_2d
from maskmend.methods import names

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "how-to").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CASES = ("anna", "bert", "cleo", "dora", "emil", "fred")
SHORT = ("train.epochs=1", "train.steps=2")
"""What a test adds to a training, so that it is over soon."""


@dataclass(frozen=True)
class Block:
    kind: str
    text: str

    def lines(self) -> list[str]:
        return [line for line in self.text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in FENCE.findall(page.read_text())]


def commands(kind: str) -> Iterator[tuple[Path, list[str]]]:
    """Every command of this name in the pages."""
    for page in PAGES:
        for block in blocks(page):
            if block.kind == "bash":
                yield from ((page, words) for line in block.lines() if (words := shlex.split(line))[0] == kind)


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of somebody who follows the page: our checkout's configs, and scans of her own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MASKMEND_CACHE", str(tmp_path / "cache"))
    for name in ("configs", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name)
    _write_cases("my_scans/images", "my_scans/masks", 255)
    _write_cases("Dataset003_Raw/imagesTr", "Dataset003_Raw/labelsTr", 255, "_0000")
    _write_cases("Dataset002_Trust/imagesTr", "Dataset002_Trust/labelsTr", 1, "_0000")
    for name in ("Dataset002_Trust", "Dataset003_Raw"):
        write_dataset(Path(name), ["ultrasound"], {"background": 0, "lesion": 1}, ".png", len(CASES))
    trust = ["clean", "clean", "clean", "noisy", "noisy", "unlabeled"]
    rows = [f"{case},{word}\n" for case, word in zip(CASES, trust, strict=True)]
    Path("Dataset002_Trust/supervision.csv").write_text("case,supervision\n" + "".join(rows))
    return tmp_path


def _write_cases(images: str, masks: str, foreground: int, suffix: str = "") -> None:
    for seed, case in enumerate(CASES):
        image, mask = render_2d(seed, 32)
        write_image(Path(images) / f"{case}{suffix}.png", image, Geometry((1.0, 1.0)))
        write_label(Path(masks) / f"{case}.png", mask * foreground, Geometry((1.0, 1.0)))


def run(line: str, monkeypatch: pytest.MonkeyPatch, short: bool = True) -> tuple[int, str]:
    """Exit code and everything printed of one `maskmend` line; other commands have tests of their own."""
    words = shlex.split(line)
    if words[0] == "PYTHONPATH=.":
        monkeypatch.syspath_prepend(os.getcwd())
        words = words[1:]
    if words[0] != "maskmend":
        assert words[0] in ("make", "pip", "torchrun"), f"no test runs {line!r}"
        return 0, ""
    if short and words[1] == "train":
        words += [*SHORT, "train.epochs=2"] if "--resume" in words else SHORT
        words += ["data.size=[32,32]"] if "--config" in words else []
    result = CliRunner().invoke(app, words[1:])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_and_python_run(page: Path, reader: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "-o Dataset001_Lesions" not in page.read_text():
        prepare(Path("my_scans"), Path("Dataset001_Lesions"), test=0.2)
    if page.stem == "dicom":
        pytest.importorskip("highdicom", reason="DICOM needs pydicom and highdicom: pip install 'maskmend[dicom]'")
        make_hospital(Path("hospital"))
    for block in blocks(page):
        if block.kind == "bash":
            for line in block.lines():
                code, output = run(line, monkeypatch)
                assert code == 0, f"{line}\n{output}"
        elif block.kind == "console":
            _check_console(block, monkeypatch)
        elif block.kind == "python":
            _run_python(block.text)


def _check_console(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines after `$` are commands; the others are what they print."""
    output = ""
    for line in block.lines():
        if line.startswith("$ "):
            _, output = run(line[2:], monkeypatch, short=False)
        else:
            assert line in output


def _run_python(text: str) -> None:
    """A block that begins with a file name is that file; others are run."""
    file = re.match(r"# (\S+\.py)\n", text)
    if file:
        Path(file[1]).parent.mkdir(parents=True, exist_ok=True)
        Path(file[1]).write_text(text)
    else:
        exec(compile(text, "README", "exec"), {})


@pytest.mark.slow
def test_torchrun_lines_run_on_two_ranks(reader: Path) -> None:
    prepare(Path("my_scans"), Path("Dataset001_Lesions"), test=0.2)
    for _, words in commands("torchrun"):
        line = [sys.executable, "-m", "torch.distributed.run", *words[1:], *SHORT, "--device", "cpu"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("dice") == 2, "the first rank alone prints, dice and dice_foreground"
        torch.load(Path(words[words.index("-o") + 1]) / "last.ckpt", weights_only=True)


def test_the_readme_begins_with_two_commands() -> None:
    first = blocks(PAGES[0])[0]
    assert first.lines() == ["make demo", "make test"]


def test_make_targets_exist() -> None:
    targets = {word for _, words in commands("make") for word in words[1:]}
    assert {"demo", "test"} <= targets
    for target in targets:
        subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=True)


def test_what_pip_installs_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for _, words in commands("pip"):
        assert words[1] == "install"
        found = re.fullmatch(r"\.(?:\[(.*)\])?", words[-1])
        assert found, words
        assert set((found[1] or "").split(",")) - {""} <= set(extras)
        assert "-c" not in words or (ROOT / words[words.index("-c") + 1]).exists()


@pytest.mark.parametrize("page", [*PAGES, ROOT / "docs" / "index.md"], ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_settings_that_are_named_exist() -> None:
    """Words like `train.epochs` and `data.size=[64,64]` in running text and tables."""
    spans = {span for page in PAGES for span in re.findall(r"`([a-z]+(?:\.[a-z_]+)?=?[^`\n]*)`", page.read_text())}
    groups = {name for name, field in RunConfig.model_fields.items() if name != "method"}
    checked = 0
    for span in spans:
        key, _, value = span.partition("=")
        if key.split(".")[0] not in groups or re.search(r"[ /(]|\.jsonl", key):
            continue
        if value:
            load_config(overrides=shlex.split(span))
        else:
            tree = RunConfig().model_dump()
            for part in key.split("."):
                assert part in tree, span
                tree = tree[part]
        checked += 1
    assert checked > 10


def test_the_readme_lists_every_method() -> None:
    table = re.findall(r"^\| `(\w+)` \| ", PAGES[0].read_text(), re.MULTILINE)
    assert set(names()) <= set(table)


def test_data_blocks_parse() -> None:
    for page in PAGES:
        for block in blocks(page):
            if block.kind == "json":
                json.loads(block.text)
            elif block.kind == "csv":
                assert len({len(row) for row in csv.reader(io.StringIO(block.text))}) == 1
