"""Words, names and folders as machines and people make them: one sentence from every verb, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from tests.system.conftest import Maskmend
from tests.system.test_bad_input import SUPERVISED, content, edit_json, refused

NOISE = ("--noise", "dilate_erode", "low=1", "high=2")


def verbs(dataset: Path, run: Path, plan: Path) -> dict[str, tuple[object, ...]]:
    """Every verb that writes, but for -o."""
    plan.write_text("datasets: {disks: {phantom: {train: 4, test: 1, size: 32}}}\nmethods: [supervised]\n")
    return {
        "prepare": (dataset,),
        "simulate": (dataset, *NOISE),
        "train": (dataset, *SUPERVISED),
        "predict": (run, dataset / "imagesTr"),
        "evaluate": (dataset / "labelsTr", dataset / "labelsTr"),
        "bench": (plan,),
        "fuse": (dataset,),
        "demo": (),
    }


VERBS = ("prepare", "simulate", "train", "predict", "evaluate", "bench", "fuse", "demo")


@pytest.mark.parametrize("verb", VERBS)
def test_nowhere_to_write(maskmend: Maskmend, dataset: Path, trained: Path, tmp_path: Path, verb: str) -> None:
    """No name, a link to itself, a name too long, a place below a file."""
    words = verbs(dataset, trained, tmp_path / "plan.yaml")[verb]
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    before = content(tmp_path)
    for word in ("", " "):
        refused(maskmend(verb, *words, "-o", word), "nothing after -o")
    refused(maskmend(verb, *words, "--output="), "nothing after --output=")
    for name in ("loop/OUT", "x" * 300, "plan.yaml/OUT"):
        refused(maskmend(verb, *words, "-o", tmp_path / f"{name}{'.json' * (verb == 'evaluate')}"))
    if verb != "evaluate":  # that replaces a file
        refused(maskmend(verb, *words, "-o", tmp_path / "loop"))
    assert content(tmp_path) == before


def test_words_of_a_search_without_one(maskmend: Maskmend, dataset: Path, tmp_path: Path) -> None:
    train = ("train", dataset, "-o", tmp_path / "RUN", *SUPERVISED)
    refused(maskmend(*train, "--candidates", "0.1,0.2"), "--candidates", "add --search PARAMETER")
    refused(maskmend(*train, "--search-epochs", "3"), "--search-epochs", "add --search PARAMETER")
    for text in ("a,b", ",", "nan", "0.1,inf"):
        refused(maskmend(*train, "--search", "tau", "--candidates", text), repr(text), "0.02,0.05")
    assert not (tmp_path / "RUN").exists()


def test_a_name_that_leads_elsewhere_writes_nothing(maskmend: Maskmend, dataset: Path, tmp_path: Path) -> None:
    listed = {
        f"case0{n}": {"images": [f"imagesTr/case0{n}_0000.png"], "label": f"labelsTr/case0{n}.png"} for n in range(6)
    }
    edit_json(dataset / "dataset.json", dataset=listed)
    simulate = ("simulate", dataset, "-o", tmp_path / "deep" / "OUT", *NOISE)
    assert maskmend(*simulate).exit_code == 0
    shutil.rmtree(tmp_path / "deep")
    listed["../../evil"] = listed.pop("case03")
    edit_json(dataset / "dataset.json", dataset=listed)
    before = content(tmp_path)
    refused(maskmend(*simulate), dataset / "dataset.json", "'../../evil'", "another folder")
    assert content(tmp_path) == before
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize("name", ["supervision.csv", "splits_final.json"])
def test_names_elsewhere_in_what_stands_beside(maskmend: Maskmend, dataset: Path, tmp_path: Path, name: str) -> None:
    texts = {
        "supervision.csv": "case,supervision\n../case00,noisy\n",
        "splits_final.json": '[{"train": [".."], "val": []}]',
    }
    (dataset / name).write_text(texts[name])
    refused(maskmend("train", dataset, "-o", tmp_path / "RUN", *SUPERVISED), dataset / name, "a plain name")
    assert not (tmp_path / "RUN").exists()


def test_a_spreadsheet_in_another_encoding_and_a_mark(maskmend: Maskmend, dataset: Path, tmp_path: Path) -> None:
    train = ("train", dataset, "-o", tmp_path / "RUN", *SUPERVISED, "--fast-dev-run")
    (dataset / "supervision.csv").write_bytes("case,supervision\r\nzoé,clean\r\n".encode("cp1252"))
    refused(maskmend(*train), "supervision.csv, line 2", "save it as UTF-8")
    (dataset / "supervision.csv").unlink()
    folds = [{"train": [f"case0{n}" for n in range(4)], "val": ["case04", "case05"]}]
    (dataset / "splits_final.json").write_text(json.dumps(folds), encoding="utf-8-sig")
    assert maskmend(*train).exit_code == 0


def test_accents_in_two_spellings_are_one_name(maskmend: Maskmend, dataset: Path, tmp_path: Path) -> None:
    """Images named on a Mac (NFD); the label, and what is said of the case, on another machine (NFC)."""
    name = "zoé"
    apart = unicodedata.normalize("NFD", name)
    (dataset / "imagesTr/case03_0000.png").rename(dataset / f"imagesTr/{apart}_0000.png")
    (dataset / "labelsTr/case03.png").rename(dataset / f"labelsTr/{name}.png")
    (dataset / "supervision.csv").write_text(f"case,supervision\n{apart},noisy\n", encoding="utf-8")
    (dataset / "splits_final.json").write_text(json.dumps([{"train": ["case00", name], "val": ["case01"]}]))
    assert maskmend("train", dataset, "-o", tmp_path / "RUN", *SUPERVISED, "--fast-dev-run").exit_code == 0


LIMITED = """
import resource, sys
from maskmend.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY))
main()
"""


@pytest.mark.slow  # imports torch in processes of their own
@pytest.mark.parametrize(("verb", "limit"), [("simulate", 50), ("train", 20_000)])
def test_a_limit_of_a_file_s_size(dataset: Path, trained: Path, tmp_path: Path, verb: str, limit: int) -> None:
    words = verbs(dataset, trained, tmp_path / "plan.yaml")[verb]
    line = [sys.executable, "-c", LIMITED, str(limit), verb, *map(str, words), "-o", str(tmp_path / "OUT")]
    environment = os.environ | {"MASKMEND_CACHE": str(tmp_path / "cache")}
    ended = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode in (1, 2), ended.stderr
    assert "Traceback" not in ended.stderr
    assert "oo large" in ended.stderr or "larger than" in ended.stderr or "disk is full" in ended.stderr, ended.stderr
    assert not list(tmp_path.glob(".OUT*"))


@pytest.mark.slow  # imports torch in a process of its own
def test_a_name_that_is_not_utf_8(dataset: Path, tmp_path: Path) -> None:
    output = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    line = [sys.executable, "-m", "maskmend", "simulate", dataset, "-o", output, *NOISE]
    ended = subprocess.run(line, capture_output=True, check=False)
    assert (ended.returncode, b"caf\\udce9: " in ended.stdout) == (0, True), ended.stderr
