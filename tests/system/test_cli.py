"""The command line parses, calls the verb of the same name, and says what went wrong in one sentence."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

import maskmend
from maskmend import cli
from maskmend.cli import app
from maskmend.errors import InputError
from maskmend.verbs.predict import Predictions

HEAVY = (
    "torch",
    "monai",
    "lightning_fabric",
    "numpy",
    "scipy",
    "skimage",
    "SimpleITK",
    "matplotlib",
    "pydantic",
    "yaml",
)
RESULT = SimpleNamespace(table=lambda: "a table")


class Verbs:
    """Stand-ins for the verbs: they note how they were called, and return or raise what they are told."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def put(self, name: str, outcome: Any = RESULT) -> None:
        def verb(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((args, kwargs))
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        home = f"maskmend.verbs.{name}"
        module = ModuleType(home)
        setattr(module, name, verb)
        self.patch.setitem(sys.modules, home, module)


@pytest.fixture
def verbs(monkeypatch: pytest.MonkeyPatch) -> Verbs:
    return Verbs(monkeypatch)


def run(line: str) -> Any:
    return CliRunner().invoke(app, line.split())


def test_help_imports_nothing_heavy(record_property: pytest.RecordProperty) -> None:
    code = (
        "import sys, maskmend, maskmend.cli\n"
        "try: maskmend.cli.app(['--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        f"print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    start = time.perf_counter()
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True).stdout
    record_property("help_seconds", round(time.perf_counter() - start, 3))
    assert out.rstrip().endswith("HEAVY []")
    verbs = ("prepare", "simulate", "train", "predict", "evaluate", "export", "methods", "demo")
    assert all(verb in out for verb in verbs)


@pytest.mark.parametrize("verb", ["prepare", "simulate", "train", "predict", "evaluate", "export", "methods", "demo"])
def test_every_verb_has_a_short_help_with_an_example(verb: str) -> None:
    result = run(f"{verb} --help")
    assert result.exit_code == 0
    assert f"Example: maskmend {verb} " in result.output


def test_version() -> None:
    assert run("--version").output.strip() == f"maskmend {maskmend.__version__}"


def test_prepare(verbs: Verbs) -> None:
    verbs.put("prepare")
    asked = {"archive": None, "test": 0.0, "threshold": 127, "seed": 0, "partial": False, "allow_empty": False}
    asked["structures"] = ()
    assert run("prepare raw -o Dataset001 --test 0.2").output == "a table\n"
    run("prepare kvasir_seg --from k.zip -o Dataset002 --partial --seed 3")
    run("prepare --list")
    run("prepare hospital -o Dataset003 --structures liver,lesion")
    assert verbs.calls == [
        (("raw", Path("Dataset001")), asked | {"test": 0.2}),
        (("kvasir_seg", Path("Dataset002")), asked | {"archive": Path("k.zip"), "partial": True, "seed": 3}),
        ((None, None), asked),
        (("hospital", Path("Dataset003")), asked | {"structures": ("liver", "lesion")}),
    ]


def test_simulate_takes_words_before_and_after_options(verbs: Verbs) -> None:
    verbs.put("simulate", SimpleNamespace(cases="abc", corrupted="ab", dice=lambda: (0.85, 0.1)))
    line = "simulate D -o N --noise markov steps=200 preference=0.2 rate=1e-4 axes=[0,1] --fraction 1.0 --seed 3"
    assert "2 of 3 masks corrupted; Dice with the true ones 0.850 ± 0.100" in run(line).output
    assert verbs.calls == [
        (
            (Path("D"), Path("N")),
            {
                "noise": "markov",
                "parameters": {"steps": 200, "preference": 0.2, "rate": 1e-4, "axes": [0, 1]},
                "fraction": 1.0,
                "seed": 3,
            },
        )
    ]


@pytest.mark.parametrize("word", ["steps", "=3", "steps=", "a=[1,"])
def test_a_malformed_word_is_a_sentence(verbs: Verbs, word: str) -> None:
    verbs.put("simulate")
    result = run(f"simulate D -o N --noise markov {word}")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: cannot read {word!r}")
    assert not verbs.calls


def test_train(verbs: Verbs) -> None:
    verbs.put("train")
    options = "--resume --device cpu --fast-dev-run --check"
    result = run(f"train D --method gsd_net -o RUN --config c.yaml method.tau=0.06 train.epochs=50 {options}")
    assert result.output == "a table\n"
    settings = {"config": Path("c.yaml"), "overrides": ["method.tau=0.06", "train.epochs=50"], "resume": True}
    settings["check"] = True
    assert verbs.calls == [
        ((Path("D"), Path("RUN")), {"method": "gsd_net", "device": "cpu", "fast_dev_run": True, **settings})
    ]


def test_only_the_first_rank_prints(verbs: Verbs, monkeypatch: pytest.MonkeyPatch) -> None:
    verbs.put("train")
    monkeypatch.setenv("RANK", "1")
    assert run("train D -o RUN").output == ""


def test_without_a_method_the_config_decides(verbs: Verbs) -> None:
    verbs.put("train")
    run("train D -o RUN")
    assert verbs.calls[0][1]["method"] is None


def test_predict(verbs: Verbs) -> None:
    verbs.put("predict", Predictions(Path("OUT"), 7, []))
    assert run("predict RUN IMAGES -o OUT --mirror --checkpoint last").output == "OUT: 7 masks.\n"
    settings = {"checkpoint": "last", "probabilities": False, "mirror": True, "device": "auto", "dicom_seg": False}
    settings |= {"part": None, "engine": "local", "jobs": None, "options": {}}
    assert verbs.calls == [((Path("RUN"), Path("IMAGES"), Path("OUT")), settings)]


def test_predict_lists_failures_at_the_end(verbs: Verbs) -> None:
    verbs.put("predict", Predictions(Path("OUT"), 1, [("b.png", "cannot be read")]))
    result = run("predict RUN IMAGES -o OUT")
    assert result.exit_code == 1
    assert result.stderr == "failed: b.png: cannot be read\n"


def test_evaluate_and_demo(verbs: Verbs) -> None:
    verbs.put("evaluate")
    verbs.put("demo")
    assert run("evaluate P R -o s.json").output == run("demo").output == "a table\n"
    assert verbs.calls == [
        (
            (Path("P"), Path("R"), Path("s.json")),
            {"dataset": None, "surface": False, "tolerance_mm": 1.0, "resample": False},
        ),
        ((Path("demo"),), {"device": "auto"}),
    ]


def test_the_signal_to_end_is_as_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(cli, "app", lambda **_: signal.raise_signal(signal.SIGTERM))
    try:
        with pytest.raises(KeyboardInterrupt):
            cli.main()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_closed_streams() -> None:
    words = f"exec {sys.executable} -m maskmend methods >&- 2>&-"
    assert subprocess.run(["bash", "-c", words], check=False).returncode == 0


def test_input_error_is_one_sentence(verbs: Verbs) -> None:
    verbs.put("train", InputError("D/dataset.json is missing; run `maskmend prepare`."))
    result = run("train D -o RUN")
    assert result.exit_code == 2
    assert result.stderr == "error: D/dataset.json is missing; run `maskmend prepare`.\n"


@pytest.mark.parametrize("wrapped", [False, True])
def test_full_disk_is_one_sentence(verbs: Verbs, wrapped: bool) -> None:
    error: Exception = OSError(errno.ENOSPC, "No space left on device")
    if wrapped:
        cause, error = error, RuntimeError("writing failed")
        error.__cause__ = cause
    verbs.put("train", error)
    result = run("train D -o RUN")
    assert result.exit_code == 2
    assert result.stderr == "error: RUN: the disk is full; free some space or choose another folder.\n"


def test_a_refused_file_is_one_sentence(verbs: Verbs) -> None:
    verbs.put("train", PermissionError(errno.EACCES, "Permission denied", "D/secret.png"))
    result = run("train D -o RUN")
    assert result.exit_code == 2
    assert result.stderr == "error: D/secret.png: permission denied; check the path and its permissions.\n"


def test_too_little_memory_is_one_sentence(verbs: Verbs) -> None:
    verbs.put("train", type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"))
    result = run("train D -o RUN")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: the memory does not suffice; take smaller batches")


def test_a_warning_is_a_sentence(verbs: Verbs, monkeypatch: pytest.MonkeyPatch) -> None:
    verbs.put("evaluate")
    home = sys.modules["maskmend.verbs.evaluate"]

    def evaluate(*_: Any, **__: Any) -> Any:
        warnings.warn("P holds a mask without a reference.", stacklevel=2)
        return RESULT

    monkeypatch.setattr(home, "evaluate", evaluate)
    result = run("evaluate P R")
    assert (result.exit_code, result.stderr) == (0, "warning: P holds a mask without a reference.\n")


def test_interrupt_says_how_to_go_on(verbs: Verbs) -> None:
    verbs.put("train", KeyboardInterrupt())
    verbs.put("evaluate", KeyboardInterrupt())
    result = run("train D -o RUN")
    assert result.exit_code == 130
    assert "--resume" in result.stderr
    assert "the same command starts again" in run("evaluate P R").stderr
    verbs.put("audit", KeyboardInterrupt())
    assert "the same command goes on" in run("audit D -o A --cross 2").stderr


def test_a_bug_keeps_its_traceback(verbs: Verbs) -> None:
    verbs.put("train", ZeroDivisionError())
    assert isinstance(run("train D -o RUN").exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("audit D", "error: -o AUDIT is missing. Example: maskmend audit DATASET -o AUDIT"),
        ("mend A", "error: -o DATASET is missing. Example: maskmend mend AUDIT -o Dataset002_Mended"),
        ("review", "error: AUDIT is missing. Example: maskmend review AUDIT"),
        ("prepare scans", "name a new folder with -o: maskmend prepare scans -o Dataset001_Name."),
    ],
)
def test_what_is_missing_is_told_with_an_example(line: str, said: str) -> None:
    result = run(line)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_folder_that_is_not_prepared_is_told_the_command(tmp_path: Path) -> None:
    (tmp_path / "scans" / "images").mkdir(parents=True)
    result = run(f"audit {tmp_path}/scans -o {tmp_path}/audit")
    assert result.exit_code == 2
    assert f"`maskmend prepare {tmp_path}/scans -o DATASET`" in result.stderr
    assert "`maskmend prepare`" in run(f"audit {tmp_path}/nothing -o {tmp_path}/audit").stderr


@pytest.mark.parametrize(
    "line", ["train", "train D", "train D -o R --device tpu", "simulate D -o N --noise m --fraction 2", "nothing"]
)
def test_wrong_usage_exits_with_2(line: str) -> None:
    assert run(line).exit_code == 2


def test_verbs_are_functions_of_the_package(verbs: Verbs, monkeypatch: pytest.MonkeyPatch) -> None:
    verbs.put("train")
    monkeypatch.delitem(vars(maskmend), "train", raising=False)
    from maskmend import train

    assert train("D", "RUN") is RESULT
    vars(maskmend).pop("train")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = maskmend.nothing
    assert {"prepare", "train", "__version__"} <= set(dir(maskmend))


@pytest.mark.parametrize(
    "before", ["", "import maskmend.{0}", "from maskmend.{0} import {1}"], ids=["", "room", "file"]
)
def test_a_verb_keeps_its_name_where_a_room_has_it_too(before: str) -> None:
    """Whichever comes first; and the files of the room can be imported after it."""
    rooms = {"prepare": "recipes", "audit": "store", "review": "journal"}
    lines = ["from importlib import import_module"]
    for name, file in rooms.items():
        lines += [
            before.format(name, file),
            f"import maskmend; from maskmend import {name}; verb = {name}",
            f"from maskmend.{name} import {file}; assert {file} is import_module('maskmend.{name}.{file}')",
            f"from maskmend import {name}; assert maskmend.{name} is {name} is verb; print({name}.__name__)",
        ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(rooms)


def test_methods_lists_every_method() -> None:
    from maskmend.methods import names

    result = run("methods")
    assert result.exit_code == 0, result.output
    assert all(name in result.output for name in names())


def test_methods_shows_one() -> None:
    output = run("methods co_teaching").output
    assert "NeurIPS 2018" in output
    assert "net1, net2" in output
    assert "method.tau" in output
    assert "Algorithm 1" in output
    assert "≥ 0 < 1" in output
    assert "float | auto" in run("methods self_cleansing").output
    assert "[float ≥ 0 ≤ 1, …]" in run("methods robust").output


def test_unknown_method_names_its_neighbour() -> None:
    result = run("methods co_teachin")
    assert result.exit_code == 2
    assert "did you mean 'co_teaching'" in result.stderr
