"""One process at a time in a folder."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest

from maskmend.data import lock
from maskmend.errors import InputError

HOST = socket.gethostname()
HOLD = """
import sys, time; from pathlib import Path; from maskmend.data.lock import hold
with hold(Path(sys.argv[1])): print("held", flush=True); time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that holds tmp_path/RUN."""
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "RUN"], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_the_second_hears_who_has_it_and_takes_over_once_that_is_dead(holder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"RUN is in use by process {holder.pid} on {HOST}"):
        with lock.hold(tmp_path / "RUN"):
            pass
    holder.kill()  # -9: it cleans nothing up
    holder.wait()
    assert (tmp_path / "RUN" / lock.LOCK).exists()
    with lock.hold(tmp_path / "RUN"):
        assert f"pid={os.getpid()}\nhost={HOST}\n" in (tmp_path / "RUN" / lock.LOCK).read_text()
    assert not any((tmp_path / "RUN").iterdir())


def test_not_twice_in_one_process(tmp_path: Path) -> None:
    with lock.hold(tmp_path / "RUN"):
        with pytest.raises(InputError, match=f"process {os.getpid()} on"), lock.hold(tmp_path / "RUN"):
            pass
    assert not any(tmp_path.iterdir())  # made for the lock, and nothing came of it


def test_what_was_there_and_what_was_made_stays(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    for name in ("old", "new"):
        with lock.hold(tmp_path / name):
            (tmp_path / "new").mkdir(exist_ok=True)
            (tmp_path / "new" / "result").touch()
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["new", "new/result", "old"]


@pytest.mark.parametrize("left", ["", "\0", f"filelock/2\npid={os.getppid()}\nhost={HOST}\nmode=lease\n"])
def test_who_may_live_is_left_alone(left: str, tmp_path: Path) -> None:
    (tmp_path / lock.LOCK).write_text(left)
    with pytest.raises(InputError, match="in use"), lock.hold(tmp_path):
        pass
    assert (tmp_path / lock.LOCK).read_text() == left


@pytest.mark.parametrize("lives", [False, True])
def test_who_is_of_another_host_is_given_time_for_a_sign_of_life(
    lives: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LEASE_S", 1.2)
    with lock.hold(tmp_path):
        left = (tmp_path / lock.LOCK).read_text().replace(f"host={HOST}", "host=elsewhere")
    (tmp_path / lock.LOCK).write_text(left)
    over = threading.Event()

    def beat() -> None:
        while not over.wait(0.2):
            os.utime(tmp_path / lock.LOCK)

    if lives:
        threading.Thread(target=beat, daemon=True).start()
    expected = pytest.raises(InputError, match="on elsewhere") if lives else nullcontext()
    with pytest.warns(UserWarning, match="process .* on elsewhere; waiting"), expected, lock.hold(tmp_path):
        assert f"host={HOST}" in (tmp_path / lock.LOCK).read_text()
    over.set()


def test_a_folder_that_cannot_keep_a_lock_is_used_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "open", refuse)
    with lock.hold(tmp_path):
        pass
