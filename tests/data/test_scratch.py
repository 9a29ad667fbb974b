"""New folders appear whole or not at all, and what a killed process left goes with the next call."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from maskmend.data.formats import replacing
from maskmend.data.scratch import HOST, check_new, new_folder, scratch
from maskmend.errors import InputError

KILLED = """
import os, signal, sys
from pathlib import Path
from maskmend.data.scratch import new_folder
with new_folder(Path(sys.argv[1])) as root:
    (root / "half").write_text("written")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_whole_or_not_at_all(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "OUT"

    def half() -> None:
        with new_folder(output) as root:
            (root / "half").write_text("written")
            raise InputError("some reason.")

    with pytest.raises(InputError, match="some reason"):
        half()
    assert not list(tmp_path.iterdir())
    with new_folder(output) as root:
        (root / "whole").write_text("written")
    assert [path.name for path in output.iterdir()] == ["whole"]
    assert [path.name for path in output.parent.iterdir()] == ["OUT"]
    with pytest.raises(InputError, match="OUT is not empty"):
        check_new(output)


def test_what_a_kill_left_is_swept(tmp_path: Path) -> None:
    output = tmp_path / "OUT"
    ended = subprocess.run([sys.executable, "-c", KILLED, output], check=False)
    assert ended.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert (left / "half").exists()
    dead, living = left.name.rpartition(".")[2], tmp_path / f".OUT.{os.getppid()}"
    living.mkdir()
    (tmp_path / f".OUT.{dead}.scratch").mkdir()
    (tmp_path / f".OUTER.{dead}").mkdir()  # another folder's
    with new_folder(output):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"OUT", living.name, f".OUTER.{dead}"}


def test_what_a_kill_left_of_a_file_is_swept(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left, other = tmp_path / f".{HOST}-{dead.pid}-1-a.csv", tmp_path / f".00000000-{dead.pid}-1-a.csv"
    living = tmp_path / f".{HOST}-{os.getppid()}-1-a.csv"
    for path in (left, other, living):
        path.touch()
    with replacing(tmp_path / "b.csv") as part:
        part.write_text("whole")
    assert {path.name for path in tmp_path.iterdir()} == {"b.csv", other.name, living.name}


def test_a_refusal_to_write_is_told_from_one_to_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with (
        pytest.raises(InputError, match=r"OUT cannot be written \(Not a directory\)"),
        new_folder(tmp_path / "file" / "OUT"),
    ):
        pass
    with pytest.raises(InputError, match="cannot be written"), scratch(tmp_path / "OUT") as folder:
        raise OSError(errno.EFBIG, "File too large", str(folder / "a"))
    with pytest.raises(PermissionError), scratch(tmp_path / "OUT"):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "source.png"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
