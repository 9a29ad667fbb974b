"""An audit against the truth, where it is known: what ``maskmend evaluate`` does of an audit."""

from __future__ import annotations

from pathlib import Path

from ..audit.grade import Grade
from ..audit.grade import grade as _grade
from ..audit.store import open_audit


def grade(audit: Path, truth: Path, output: Path | None = None) -> Grade:
    """Grades an audit by the true labels in ``truth``: how well it ranks, places and mends what is wrong.

    Writes ``output`` (by default grade.json in the audit), and a picture beside it.
    Raises InputError where the folder holds no audit, and as ``audit.grade``.
    """
    return _grade(open_audit(audit), truth, output)
