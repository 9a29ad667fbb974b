"""Images to predict: one that is misnamed or not whole does not stop the others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maskmend.data.images import list_images
from maskmend.errors import InputError


def listed(folder: Path, names: list[str], channels: int = 1) -> tuple[list[str], dict[str, str]]:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    cases, failures = list_images(folder, channels)
    return [name for name, _ in cases], dict(failures)


def test_a_channel_that_is_missing_is_that_cases_alone(tmp_path: Path) -> None:
    names = ["a_0000.png", "a_0001.png", "b_0000.png", "c_0000.png", "c_0001.png", "d_0001.png"]
    cases, failures = listed(tmp_path, names, channels=2)
    assert cases == ["a", "c"]
    assert "lacks its channel 0001 of 2" in failures["b"]
    assert "lacks its channel 0000 of 2" in failures["d"]


def test_all_channels_in_one_file(tmp_path: Path) -> None:
    assert listed(tmp_path, ["a.png", "b_0000.png"], channels=3) == (["a", "b"], {})


def test_two_files_of_one_case_are_that_cases_alone(tmp_path: Path) -> None:
    cases, failures = listed(tmp_path, ["a.png", "a.jpg", "b.png", "c.nii", "c_0000.nii.gz"])
    assert cases == ["b"]
    assert failures.keys() == {"a", "c"}
    assert all("are both its image" in reason for reason in failures.values())


def test_a_name_that_is_none_is_that_cases_alone(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.png")).touch()
    cases, failures = listed(tmp_path, ["a.png", "b\n.png", "e\u0301.png", "._c.png", "Thumbs.db"])
    assert cases == ["a", "\xe9"]
    assert len(failures) == 2
    assert all(name.encode() for name in failures)


def test_what_is_no_image_is_told(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"holds 2 files of no known format, such as c\.dcm"):
        assert listed(tmp_path, ["a.gif", "b.tif", "b.json", "c.dcm", "d.webp", "e.mha", "e.raw", ".hidden"])[0] == [
            *"abe"
        ]


def test_nothing_there(tmp_path: Path) -> None:
    for place, said in ((tmp_path, "holds no image"), (tmp_path / "no", "does not exist")):
        with pytest.raises(InputError, match=said):
            list_images(place, 1)
