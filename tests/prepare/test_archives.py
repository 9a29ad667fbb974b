"""Archives: whole ones are unpacked, spoilt ones end in one sentence, whichever byte it is."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmend.errors import InputError
from maskmend.prepare import archives
from maskmend.prepare.archives import unpack

CONTENT = {"a/one.bin": np.random.default_rng(0).bytes(3000), "a/two.bin": b"x" * 5000, "three.txt": b""}


def zipped(method: int = zipfile.ZIP_DEFLATED) -> bytes:
    with zipfile.ZipFile(stream := io.BytesIO(), "w", method) as file:
        for name, content in CONTENT.items():
            file.writestr(name, content)
    return stream.getvalue()


def tarred(mode: str = "w") -> bytes:
    with tarfile.open(fileobj=(stream := io.BytesIO()), mode=mode) as file:
        for name, content in CONTENT.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return stream.getvalue()


MADE: dict[str, Callable[[], bytes]] = {
    "a.zip": zipped,
    "stored.zip": lambda: zipped(zipfile.ZIP_STORED),
    "bzip2.zip": lambda: zipped(zipfile.ZIP_BZIP2),
    "lzma.ZIP": lambda: zipped(zipfile.ZIP_LZMA),
    "a.tar": tarred,
    "a.tar.gz": lambda: tarred("w:gz"),
    "a.tgz": lambda: tarred("w:gz"),
}


def unpacked(folder: Path, name: str, content: bytes) -> dict[str, bytes]:
    """What an archive gives, and InputError that names it if it cannot be unpacked."""
    (folder / name).write_bytes(content)
    target = unpack(folder / name, folder / f"{name}.out")
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}


def refused(folder: Path, name: str, content: bytes, match: str) -> None:
    with pytest.raises(InputError, match=match) as told:
        unpacked(folder, name, content)
    assert str(told.value).startswith(str(folder / name))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", MADE)
def test_a_whole_archive_gives_what_it_holds(tmp_path: Path, name: str) -> None:
    assert unpacked(tmp_path, name, MADE[name]()) == CONTENT


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.85])
def test_a_truncated_archive_is_refused(tmp_path: Path, name: str, share: float) -> None:
    whole = MADE[name]()
    refused(tmp_path, name, whole[: int(share * (12000 if name == "a.tar" else len(whole)))], "cannot be unpacked")


@pytest.mark.parametrize("name", MADE)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_flipped_bit_is_told_or_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    """Names and dates apart: neither archive sums up all of its headers."""
    whole = bytearray(MADE[name]())
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(InputError):
        found = unpacked(tmp_path_factory.mktemp("flip"), name, bytes(whole))
        if name != "a.tar":  # which has no checksum of what files hold
            assert sorted(found.values()) == sorted(CONTENT.values())


def test_a_flipped_byte_behind_the_last_file_of_a_tar_gz_is_found(tmp_path: Path) -> None:
    whole = bytearray(tarred("w:gz"))
    whole[-6] ^= 1
    refused(tmp_path, "a.tar.gz", bytes(whole), "CRC check failed")


def test_a_damaged_header_is_not_the_end_of_a_tar(tmp_path: Path) -> None:
    whole = bytearray(tarred())
    whole[512 + 3072 + 20] ^= 1
    refused(tmp_path, "a.tar", bytes(whole), r"a\.tar cannot be unpacked \(a header is damaged")


def test_what_python_cannot_unpack_is_said_to_be_so(tmp_path: Path) -> None:
    for flag, method, match in (
        (1, 8, "is encrypted; unpack it with its password"),
        (0, 97, "unpack it by another program"),
    ):
        whole = bytearray(zipped())
        for head, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            at = whole.find(head)
            while at >= 0:
                whole[at + place : at + place + 4] = struct.pack("<HH", flag, method)
                at = whole.find(head, at + 4)
        refused(tmp_path, f"{method}.zip", bytes(whole), match)


def test_no_archive_at_all(tmp_path: Path) -> None:
    for name in ("a.zip", "a.tar", "a.tar.gz"):
        refused(tmp_path, name, b"<html>log in first</html>" * 99, "cannot be unpacked")
    refused(tmp_path, "a.rar", b"Rar!", r"is no \.zip, \.tar, \.tar\.gz, \.tgz; unpack it")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_a_bomb_is_not_unpacked(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "SPARE", 0)
    monkeypatch.setattr(archives, "FACTOR", 0.5)
    refused(tmp_path, name, MADE[name](), "GB or more, beyond what it may hold or the disk has free")


def test_links_and_paths_that_lead_elsewhere(tmp_path: Path) -> None:
    for number, link in enumerate(("/etc/passwd", "../../secret")):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as file:
            member = tarfile.TarInfo("link")
            member.type, member.linkname = tarfile.SYMTYPE, link
            file.addfile(member)
        with pytest.raises(InputError, match="cannot be unpacked"):
            unpack(tmp_path / f"{number}.tar", tmp_path / f"out{number}")
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as packed:
        packed.writestr("../../evil.txt", "x")
    unpack(tmp_path / "evil.zip", tmp_path / "deep" / "zip")
    assert not list(tmp_path.parent.glob("evil.txt"))
    assert [path.name for path in tmp_path.rglob("evil.txt")] == ["evil.txt"]
