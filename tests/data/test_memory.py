"""How much memory there is, and what is said of what needs more."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from maskmend.data import memory, volumes
from maskmend.data.formats import Geometry, read_image, write_image
from maskmend.errors import InputError

GIB = 2**30


@pytest.mark.parametrize(
    ("own", "files", "left"),
    [
        ("0::/job/step", {"job/memory.max": "3", "job/memory.current": "1", "job/memory.stat": ""}, 2),
        ("0::/job", {"memory.max": "max", "memory.current": "1"}, None),
        (
            "0::/job",
            {"job/memory.max": "5", "job/memory.current": "4", "job/memory.stat": "anon 1\ninactive_file 2"},
            3,
        ),
        (
            "4:cpu,cpuacct:/x\n5:memory:/x",
            {"memory/x/memory.limit_in_bytes": "9", "memory/x/memory.usage_in_bytes": "2"},
            7,
        ),
        ("0::/elsewhere", {"memory.max": "8", "memory.current": "2", "memory.stat": "inactive_file 0"}, 6),
    ],
)
def test_the_control_groups_own_limit_counts(
    own: str, files: dict[str, str], left: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "self").write_text(own)
    monkeypatch.setattr(memory, "OWN", tmp_path / "self")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "groups")
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text)
    machine = memory._machine()
    assert machine > 0
    assert memory.available_bytes() == (left if left is not None else pytest.approx(machine, rel=0.5))


def test_too_much_is_told_with_both_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda device: 2 * GIB)
    memory.check_memory(2 * GIB, "it", "help")
    with pytest.raises(InputError, match=r"^it would take 3\.0 GiB of memory where 2\.0 GiB are free; help\.$"):
        memory.check_memory(3 * GIB, "it", "help")
    with pytest.raises(InputError, match="more than a machine has"):
        memory.check_memory(float("inf"), "it", "help")


def test_words_of_four_libraries_for_a_lack_of_memory() -> None:
    with pytest.raises((RuntimeError, MemoryError)) as torchs:
        torch.empty(2**55, dtype=torch.float32)
    with pytest.raises(MemoryError) as numpys:
        np.empty(2**55, np.float32)
    assert memory.out_of_memory(torchs.value)
    assert memory.out_of_memory(numpys.value)
    assert memory.out_of_memory(RuntimeError("Exception thrown in SimpleITK: Failed to allocate memory for image."))
    assert memory.out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    assert not memory.out_of_memory(RuntimeError("size mismatch"))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_volume_that_no_memory_holds_is_told_before_it_is_read(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a{ending}"
    write_image(path, np.zeros((9, 20, 30), np.int16), Geometry((1.0,) * 3, (0.0,) * 3, tuple(np.eye(3).ravel())))
    assert volumes.promised(path) == ((9, 20, 30), 2 * 9 * 20 * 30)
    read_image([path])
    monkeypatch.setattr(memory, "available_bytes", lambda device: 1000)
    monkeypatch.setattr(volumes, "decode_nifti", lambda path: pytest.fail("it was read"))
    with pytest.raises(InputError, match=r"9 × 20 × 30 voxels would take .* GiB of memory .* crop it"):
        read_image([path])


def test_a_header_that_promises_what_no_file_holds_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    header = nibabel.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    path.write_bytes(gzip.compress(header.binaryblock + bytes(8)))
    with pytest.raises(InputError, match="cannot be read"):
        read_image([path])
