"""One process at a time in a folder."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from maskmend.data import lock
from maskmend.errors import InputError

HOST = socket.gethostname()


def left_behind(folder: Path, silent_s: float = 0.0, text: str | None = None, **holder: object) -> Path:
    """A lock that another process has, or had."""
    folder.mkdir()
    path = folder / lock.LOCK
    path.write_text(json.dumps({"pid": 1, "host": HOST, "start": None} | holder) if text is None else text)
    os.utime(path, (time.time() - silent_s,) * 2)
    return path


def dead() -> int:
    """The pid of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_second_hears_who_has_the_folder(tmp_path: Path) -> None:
    with lock.hold(tmp_path / "a" / "RUN"):
        with pytest.raises(InputError, match=rf"RUN is in use by process {os.getpid()} on {HOST}"):
            with lock.hold(tmp_path / "a" / "RUN"):
                pass
        assert [path.name for path in (tmp_path / "a" / "RUN").iterdir()] == [lock.LOCK]
    assert not any(tmp_path.iterdir())


def test_what_was_there_and_what_was_made_stays(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    for name in ("old", "new"):
        with lock.hold(tmp_path / name):
            (tmp_path / "new").mkdir(exist_ok=True)
            (tmp_path / "new" / "result").touch()
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["new", "new/result", "old"]


@pytest.mark.parametrize(
    "left",
    [{"pid": dead()}, {"pid": os.getpid(), "start": "1"}, {"host": "elsewhere", "silent_s": 1e3}]
    + [{"text": text, "silent_s": 1e3} for text in ("", "\0\xff", "[]", '{"pid": 1e400}', '{"pid": 3}')],
)
def test_what_the_dead_left_is_taken_over(left: dict[str, object], tmp_path: Path) -> None:
    path = left_behind(tmp_path / "RUN", **left)
    with lock.hold(tmp_path / "RUN"):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not path.exists()


@pytest.mark.parametrize("left", [{"pid": os.getppid()}, {"host": "elsewhere"}, {"text": ""}])
def test_the_living_are_left_alone(left: dict[str, object], tmp_path: Path) -> None:
    path = left_behind(tmp_path / "RUN", **left)
    before = path.read_bytes()
    with pytest.raises(InputError, match="in use"), lock.hold(tmp_path / "RUN"):
        pass
    assert path.read_bytes() == before


def test_a_holder_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_S", 0.01)
    with lock.hold(tmp_path):
        os.utime(tmp_path / lock.LOCK, (0, 0))
        until = time.time() + 5
        while (tmp_path / lock.LOCK).stat().st_mtime < 1 and time.time() < until:
            time.sleep(0.01)
        assert (tmp_path / lock.LOCK).stat().st_mtime > 1


def test_a_folder_that_cannot_keep_a_lock_is_used_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(Path, "open", refuse)
    with lock.hold(tmp_path):
        pass
