"""Whatever words, settings, small texts and archives hold: exit 0 or 2, one sentence, and nothing left behind on 2.

The inputs are few and always the same, so that a fault found once stays found; ``fuzz`` with more examples looks for
new ones.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.prepare.test_recipes import kvasir
from tests.system.conftest import TINY, maskmend
from tests.toy import write_toy

from maskmend import methods
from maskmend.config import RunConfig, dump, settings_of

METHOD = "elr"
NAMES = [*settings_of(RunConfig), *settings_of(methods.find(METHOD)[1], "method.")]
VALUES = (
    *("", "0", "1", "-1", "1e-4", "1e999", ".inf", ".nan", "null", "true", "x", "''", "[]", "{}", "[1, 2]", "[0, 0]"),
    *(
        "[-1, -1]",
        "{a: 1}",
        "{any: 4}",
        "[[1, 2], [3, 4]]",
        "2020-99-99",
        "!!int x",
        "!!python/name:os.system",
        "=",
        "~",
    ),
    *("9" * 25, "9" * 5000, "[" * 200, "&a [*a]", '"\\0"', '"\\ud800"', "ü", "{1: 2}", "{a: 1, a: 2}", "../../evil"),
)
ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        1,
        -1,
        1.5,
        10**30,
        "",
        "a",
        "..",
        "../../evil",
        "/etc/evil",
        "a/b",
        "a\\b",
        "a\0b",
        "e\u0301",
        "²",
    ),
    *([], {}, [1], ["a"], [[]], [None], {"a": 1}, {"": 0}, {"0": "a"}, {"background": 0, "a": [1]}, "x" * 300, ".png"),
)
BYTES = (
    b'"',
    b"{",
    b"}",
    b"[",
    b",",
    b"NaN",
    b"1e999",
    b"\\ud800",
    b"\xff",
    b"\xe9",
    b"\0",
    b"\n",
    b"../",
    b"9" * 5000,
)


def fuzz(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("fuzz") / "toy", cases=6, clean=2)


def ends_well(folder: Path, *words: object) -> None:
    """0, and all that was made is removed again; or 2, one sentence, and nothing was made."""
    before = set(folder.rglob("*"))
    result = maskmend(*words)
    new = set(folder.rglob("*")) - before
    assert result.exit_code in (0, 2), repr(result.exception)
    assert "Traceback" not in result.output
    if result.exit_code == 2:
        (sentence,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert len(sentence) < 1000
        assert not new, f"left behind: {sorted(new)[:5]}"
    for path in new:
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


@st.composite
def spoilt(draw: st.DrawFn, whole: bytes) -> bytes:
    """The same file with a few bytes put in, taken out or cut off."""
    content = whole
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(content)))
        cut = draw(st.sampled_from((0, 1, 7, 40, len(content))))
        content = content[:place] + draw(st.sampled_from((b"", *BYTES))) + content[place + cut :]
    return content


@st.composite
def odd(draw: st.DrawFn, tree: Any) -> bytes:
    """The same JSON with one of its values replaced."""
    whole = json.loads(json.dumps({"all": tree}))
    place = draw(st.sampled_from([*groups(whole)]))
    place[draw(st.sampled_from([*place] if isinstance(place, dict) else range(len(place))))] = draw(
        st.sampled_from(ODD)
    )
    return json.dumps(whole["all"]).encode()


def groups(tree: Any) -> Iterator[Any]:
    """Every object and list in a JSON tree that holds something."""
    if isinstance(tree, dict | list) and tree:
        yield tree
        for inner in tree.values() if isinstance(tree, dict) else tree:
            yield from groups(inner)


@fuzz(50)
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), min_size=1, max_size=2))
def test_words(toy: Path, words: list[tuple[str, str]]) -> None:
    said = [f"{name}={value}" for name, value in words]
    train = ("train", toy, "-o", toy.parent / "RUN", "--method", METHOD, *TINY, "train.epochs=1", "train.steps=1")
    ends_well(toy.parent, *train, *said)


@fuzz(30)
@given(
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(ODD), max_size=2),
    spoilt(dump(RunConfig()).encode()),
    st.booleans(),
)
def test_files_of_settings(toy: Path, tree: dict[str, Any], text: bytes, sound: bool) -> None:
    path = toy.parent / "settings.yaml"
    nested = {name.partition(".")[0]: {name.partition(".")[2]: value} for name, value in tree.items()}
    path.write_bytes(yaml.safe_dump(nested).encode() if sound else text)
    ends_well(
        toy.parent,
        "train",
        toy,
        "-o",
        toy.parent / "RUN",
        "--method",
        METHOD,
        *TINY,
        "train.epochs=1",
        "train.steps=1",
        "--config",
        path,
    )


CASES = [f"case{number:02d}" for number in range(6)]
LISTED = {case: {"images": [f"imagesTr/{case}_0000.png"], "label": f"labelsTr/{case}.png"} for case in CASES}
HEADER = {
    "channel_names": {"0": "grey"},
    "labels": {"background": 0, "part1": 1},
    "numTraining": 6,
    "file_ending": ".png",
}
MSD = {
    **{"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "part1"}, "test": []},
    "training": [{"image": f"imagesTr/{case}_0000.png", "label": f"labelsTr/{case}.png"} for case in CASES],
}
SPLITS = [{"train": CASES[2:], "val": CASES[:2]}, {"train": CASES[:4], "val": CASES[4:]}]
TABLE = b"case,supervision\n" + b"".join(f"{case},noisy\n".encode() for case in CASES)
TEXTS = {
    "dataset.json": [HEADER, HEADER | {"dataset": LISTED}],
    "splits_final.json": [SPLITS],
    "supervision.csv": [],
    "msd": [MSD],
}


@pytest.mark.parametrize("name", TEXTS)
def test_small_texts(toy: Path, tmp_path: Path, name: str) -> None:
    root = Path(shutil.copytree(toy, tmp_path / "toy"))
    path = root / ("dataset.json" if name == "msd" else name)
    wholes = [json.dumps(tree).encode() for tree in TEXTS[name]] or [TABLE]
    inputs = st.one_of(*map(spoilt, wholes), *map(odd, TEXTS[name]))

    @fuzz(25)
    @given(inputs)
    def try_out(content: bytes) -> None:
        path.write_bytes(content)
        if name == "msd":
            ends_well(tmp_path, "prepare", root, "-o", tmp_path / "OUT")
        elif name == "splits_final.json":
            ends_well(
                tmp_path, "train", root, "-o", tmp_path / "OUT", "--method", "supervised", *TINY, "train.epochs=1"
            )
        else:
            ends_well(tmp_path, "simulate", root, "-o", tmp_path / "OUT", "--noise", "missing")

    try_out()


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """An archive of a public data set, packed in every way, by ending."""
    folder = tmp_path_factory.mktemp("archives")
    kvasir(folder / "kvasir")
    for kind in ("zip", "tar", "gztar"):
        shutil.make_archive(str(folder / "packed"), kind, folder / "kvasir")
    with zipfile.ZipFile(folder / "evil.zip", "w") as packed:
        for path in sorted((folder / "kvasir").rglob("*.*")):
            packed.write(path, f"../../{path.relative_to(folder / 'kvasir')}")
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@fuzz(40)
@given(st.data())
def test_archives(archives: dict[str, bytes], tmp_path: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(archives)))
    (tmp_path / name).write_bytes(data.draw(spoilt(archives[name])))
    ends_well(tmp_path, "prepare", "kvasir_seg", "--from", tmp_path / name, "-o", tmp_path / "OUT", "--partial")
    assert not (tmp_path.parent / "images").exists()
