"""What reaches people of how pictures are read: the same in every verb, and said once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from tests.system.conftest import TINY, Maskmend

from maskmend.data.formats import read_label


def test_a_turned_picture_is_predicted_as_it_is_shown(
    trained: Path, dataset: Path, tmp_path: Path, maskmend: Maskmend
) -> None:
    for folder in ("upright", "turned"):
        (tmp_path / folder).mkdir()
    exif = Image.Exif()
    exif[274] = 6
    for name in ("case00", "case01"):
        shown = np.asarray(Image.open(dataset / f"imagesTr/{name}_0000.png"))
        Image.fromarray(shown).save(tmp_path / f"upright/{name}.png")
        Image.fromarray(np.rot90(shown).copy()).save(tmp_path / f"turned/{name}.png", exif=exif)
    for folder in ("upright", "turned"):
        result = maskmend("predict", trained, tmp_path / folder, "-o", tmp_path / f"{folder}_masks")
        assert result.exit_code == 0, result.output
        assert result.stderr.count("EXIF") == (folder == "turned"), "said once, not for each file"
    for name in ("case00", "case01"):
        masks = [read_label(tmp_path / f"{folder}_masks/{name}.png").array for folder in ("upright", "turned")]
        np.testing.assert_array_equal(*masks)
    score = maskmend("evaluate", tmp_path / "turned_masks", tmp_path / "upright_masks")
    assert "100.00" in score.output


def test_masks_most_of_which_are_empty_are_not_learnt_from(dataset: Path, tmp_path: Path, maskmend: Maskmend) -> None:
    for path in sorted((dataset / "labelsTr").iterdir())[:4]:
        Image.fromarray(np.zeros_like(np.asarray(Image.open(path)))).save(path)
    words = ("--method", "supervised", *TINY, "train.epochs=1", "fold=all")
    refused = maskmend("train", dataset, "-o", tmp_path / "run", *words)
    assert (refused.exit_code, "4 of 6 masks are empty" in refused.stderr) == (2, True)
    assert not (tmp_path / "run").exists()
