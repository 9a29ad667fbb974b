"""What names a patient: words of a DICOM header, found again in a text in other spellings too."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator
from typing import Any

NAMES = ("PatientName", "OtherPatientNames", "PatientBirthName")
NUMBERS = ("PatientID", "OtherPatientIDs", "AccessionNumber")
OTHERS, BIRTH = "OtherPatientIDsSequence", "PatientBirthDate"
NAMING = (*NAMES, *NUMBERS, OTHERS, BIRTH)
"""Tags that name a patient."""
UID = re.compile(r"\d+(\.\d+){4,}")
LONG = 4
"""Letters from which on a word is found within others, too: Lee is not in spleen."""
FOLDED = str.maketrans({"ø": "o", "æ": "a", "œ": "o", "ł": "l", "đ": "d"})


def words_of(header: Any) -> frozenset[str]:
    """Words that name the patient of a header, for ``tells``."""
    numbers = [header.get(tag) for tag in NUMBERS] + [each.get("PatientID") for each in header.get(OTHERS) or []]
    names = [name for tag in NAMES for name in re.split(r"[=\\]", str(header.get(tag) or ""))]
    words = {_joined(_plain(str(each or ""))) for each in (*numbers, *names, *_dates(str(header.get(BIRTH) or "")))}
    words |= {word for name in names for word in _letters(_plain(name))}
    return frozenset(word for word in words if len(word) > 2 or (len(word) > 1 and not word.isdigit()))


def tells(text: str, words: Collection[str]) -> bool:
    """Whether a text holds one of the ``words_of`` patients, or a UID: a short word by itself, a long one anywhere."""
    plain = _plain(text)
    joined, alone = _joined(plain), {*re.findall(r"[^\W_]+", plain), *_letters(plain)}
    anywhere = (word in joined for word in words if len(word) >= LONG or not word.isascii())
    return UID.search(text) is not None or not alone.isdisjoint(words) or any(anywhere)


def _plain(text: str) -> str:
    """In small letters without accents; Müller is Mueller is Muller."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(letter for letter in apart if not unicodedata.combining(letter)).translate(FOLDED)
    return re.sub("([aou])e", r"\1", bare)


def _joined(plain: str) -> str:
    return re.sub(r"[\W_]+", "", plain)


def _letters(plain: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", plain)


def _dates(date: str) -> Iterator[str]:
    """YYYYMMDD, and in the other two orders in use."""
    if date:
        year, month, day = date[:4], date[4:6], date[6:]
        yield from (date, day + month + year, month + day + year)
