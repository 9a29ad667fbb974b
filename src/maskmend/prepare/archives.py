"""Unpacking a .zip or .tar: all of it, every checksum compared, and no more than an honest archive holds."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zipfile
from pathlib import Path

from ..data.formats import first_line
from ..errors import InputError

PACKED = (".zip", ".tar", ".tar.gz", ".tgz")
FACTOR, SPARE = 200, 1 << 30
"""An archive that unpacks to so many times its size, and 1 GiB more, is a bomb."""
ENCRYPTED = 0x1
BLOCK = 512
"""Bytes of a tar's header; one of zeros ends it."""


def unpack(archive: Path, target: Path) -> Path:
    """``target``, with what ``archive`` holds.

    Raises InputError where it is no .zip or .tar, is damaged anywhere, encrypted or compressed in a way that Python
    does not know, holds a path that leads elsewhere, or would fill the disk.
    """
    if not archive.exists():
        raise InputError(f"{archive} does not exist; name the archive, or the folder it was unpacked to.")
    if not archive.name.lower().endswith(PACKED):
        raise InputError(f"{archive} is no {', '.join(PACKED)}; unpack it, and give the folder.")
    target.mkdir(parents=True)
    try:
        (_zip if archive.name.lower().endswith(".zip") else _tar)(archive, target)
    except (InputError, MemoryError):
        raise
    except NotImplementedError as error:
        raise InputError(
            f"{archive}: {first_line(error)}; unpack it by another program, and give the folder."
        ) from None
    except Exception as error:  # a damaged archive may raise anything
        reason = first_line(error) if str(error) else type(error).__name__
        raise InputError(f"{archive} cannot be unpacked ({reason}); get it anew, or free some space.") from None
    return target


def _zip(archive: Path, target: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        if any(member.flag_bits & ENCRYPTED for member in members):
            raise InputError(f"{archive} is encrypted; unpack it with its password, and give the folder.")
        _check_size(sum(member.file_size for member in members), archive, target)
        file.extractall(target)  # which keeps within the folder, and compares checksums


def _tar(archive: Path, target: Path) -> None:
    """Of a tar only plain files and folders within it are taken."""
    plain = archive.name.lower().endswith(".tar")
    with archive.open("rb") if plain else gzip.open(archive) as stream:
        with tarfile.open(fileobj=stream, mode="r:") as file:
            size = 0
            for member in file:
                size += member.size
                _check_size(size, archive, target)
                file.extract(member, target, filter="data")
            end = file.offset
        if plain:
            stream.seek(end)
            if stream.read(BLOCK) != bytes(BLOCK):  # which tarfile takes for the end, too
                raise ValueError("a header is damaged, or the end is missing")
        while more := len(stream.read(1 << 20)):  # at its end gzip keeps the checksum
            size += more
            _check_size(size, archive, target)


def _check_size(size: int, archive: Path, target: Path) -> None:
    allowed = min(FACTOR * archive.stat().st_size + SPARE, shutil.disk_usage(target).free)
    if size > allowed:
        raise InputError(
            f"{archive} unpacks to {size / 1e9:.1f} GB or more, beyond what it may hold or the disk has free; unpack "
            "it yourself, and give the folder."
        )
