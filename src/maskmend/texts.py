"""Small texts that a person or a crash can spoil: JSON, CSV, names of cases. Every fault becomes one sentence."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import unicodedata
from pathlib import Path
from typing import Any

from .errors import InputError

LARGEST = 2**28
"""Bytes of a text that is read: 256 MiB."""
DEPTH = 100
"""How deep lists and groups may lie in each other."""
LONGEST = 200
"""Bytes in the name of a case: with channel, ending and a temporary file's prefix it stays within a disk's 255."""
HALF = re.compile(r"\\u[dD][89abAB]")
"""Half a character: JSON can spell it, no file can hold it."""


def read_text(path: Path, cure: str = "correct it", largest: int = LARGEST) -> str:
    """What a file says, in UTF-8 with or without a byte order mark.

    Raises InputError where it cannot be read, is larger than such a file can be, or is no text; ``cure`` says what to
    do about a file that is not there or not allowed.
    """
    try:
        check_readable(path)
        with Path(path).open("rb") as stream:
            content = stream.read(largest + 1)
    except OSError as error:
        cure = "check its permissions" if isinstance(error, PermissionError) else cure
        raise InputError(f"{path} cannot be read ({error.strerror or error}); {cure}.") from error
    if len(content) > largest:
        raise InputError(f"{path} is larger than {largest >> 10} KiB, which no such file is; {cure}.")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content:
        raise InputError(f"{path} is UTF-16 or no text at all; save it as UTF-8.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, byte = content.count(b"\n", 0, error.start) + 1, content[error.start]
        raise InputError(f"{path}, line {line}, is not UTF-8 (byte 0x{byte:02x}); save it as UTF-8.") from error


def check_readable(path: Path) -> None:
    """Raises InputError for a pipe or a socket, on which a reader may wait for ever; those of a shell's `<(…)` end."""
    path = Path(path)
    if not path.is_relative_to("/dev") and (path.is_fifo() or path.is_socket()):
        raise InputError(f"{path} is a pipe, not a file; put the file itself there.")


def read_json(path: Path, cure: str = "correct it") -> Any:
    """What a JSON file holds: no key twice, finite numbers, at most ``DEPTH`` deep.

    Raises InputError where it is anything else, or no text.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for key, value in pairs:
            if key in content:
                raise InputError(f"{path} names {key!r} twice; remove one.")
            content[key] = value
        return content

    text = read_text(path, cure)
    try:
        value = json.loads(text, object_pairs_hook=once, parse_float=_finite, parse_constant=_finite)
        if _deep(value):
            raise RecursionError
        if HALF.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except InputError:
        raise
    except RecursionError as error:
        raise InputError(f"{path} is nested more than {DEPTH} deep; {cure}.") from error
    except ValueError as error:
        said = str(error).partition(";")[0]
        raise InputError(f"{path} cannot be read as JSON ({said}); {cure}.") from error
    return value


def read_object(path: Path, cure: str = "correct it") -> dict[str, Any]:
    """The object in a JSON file. Raises InputError as ``read_json``, and where it holds something else."""
    content = read_json(path, cure)
    if not isinstance(content, dict):
        raise InputError(f"{path} does not hold a JSON object, {{...}}; {cure}.")
    return content


def read_rows(path: Path, columns: tuple[str, ...], cure: str) -> list[tuple[str, dict[str, str]]]:
    """The rows of a CSV file, each as ("PATH, line 3", {column: text}); what surrounds a text is cut off.

    Raises InputError where it is no text or no CSV, or lacks one of the ``columns``; ``cure`` says how to begin it.
    """
    rows = csv.DictReader(io.StringIO(read_text(path, cure), newline=""), skipinitialspace=True, strict=True)
    found = []
    try:
        names = rows.fieldnames = [name.strip() for name in rows.fieldnames or ()]
        if not set(columns) <= set(names):
            raise InputError(f"{path} lacks the column{'s' * (len(columns) > 1)} {' and '.join(columns)}; {cure}.")
        for row in rows:
            found.append((f"{path}, line {rows.line_num}", {name: (row[name] or "").strip() for name in names}))
    except csv.Error as error:
        raise InputError(f"{path}, line {rows.line_num}, cannot be read as CSV ({error}); correct it.") from error
    return found


def case_name(name: object, where: object) -> str:
    """``name`` in one spelling of its accents (NFC), if it can stand in a file's name: one part of a path, no more.

    Raises InputError, told of ``where`` it stands, for whatever would lead to another folder or to no file.
    """
    if not isinstance(name, str) or not name:
        why = "is no name"
    elif not {"/", "\\"}.isdisjoint(name):
        why = "leads to another folder"
    elif name.startswith("."):
        why = "begins with a dot"
    elif any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        why = "holds what no name of a file should"
    elif len((spelt := unicodedata.normalize("NFC", name)).encode()) > LONGEST:
        why = f"is longer than {LONGEST} bytes"
    else:
        return spelt
    raise InputError(f"{where} names the case {shown(name)}, which {why}; give it a plain name.")


def shown(value: object) -> str:
    """A value as it stands in a sentence: not without end."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}…"


def _finite(text: str) -> float:
    number = float(text)
    if math.isfinite(number):
        return number
    raise ValueError(f"the number {text} is not finite")


def _deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEPTH):
        inner = (one for outer in level for one in (outer.values() if isinstance(outer, dict) else outer))
        level = [one for one in inner if isinstance(one, dict | list)] if isinstance(value, dict | list) else []
    return bool(level)
