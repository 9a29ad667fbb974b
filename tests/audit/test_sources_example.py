"""The example and the page that begin with nnU-Net's folds find the one mask that these do not agree with."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

from maskmend import prepare
from maskmend.data.formats import Geometry, write_image, write_label
from maskmend.data.phantom import render_2d

ROOT = Path(__file__).parents[2]
TRAINING = "nnUNet_results/Dataset001_Lesions/nnUNetTrainer__nnUNetPlans__3d_fullres"


def test_the_example_finds_what_the_page_made_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MASKMEND_CACHE", str(tmp_path / "cache"))
    for seed, name in enumerate(("anna", "bert", "cleo")):
        image, mask = render_2d(seed, 32)
        write_image(Path("my_scans/images") / f"{name}.png", image, Geometry((1.0, 1.0)))
        write_label(Path("my_scans/masks") / f"{name}.png", mask * 255, Geometry((1.0, 1.0)))
    prepare(Path("my_scans"), Path("Dataset001_Lesions"))
    page = (ROOT / "docs/how-to/from-nnunet.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    exec(compile(code, "from-nnunet.md", "exec"), {})

    monkeypatch.setattr(sys, "argv", ["", "Dataset001_Lesions", TRAINING, "audit"])
    runpy.run_path(str(ROOT / "examples/audit_nnunet.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert "1. anna: doubt 0." in said
    assert re.search(r"2\. \w+: doubt 0\.00, fine", said)
    assert re.search(r"\d+% sure: ", said)
