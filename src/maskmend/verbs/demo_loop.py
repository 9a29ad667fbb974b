"""The second half of the demo: wrong masks are found, a few are reviewed, the others are mended by what was learnt."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from ..audit.rank import at_random
from ..audit.store import Audit
from ..review.simulated import simulated_review
from .audit import audit
from .mend import mend

REVIEWED = 0.1
"""Share of the masks that are reviewed, where some are more doubtful than others."""


@dataclass(frozen=True)
class Loop:
    """What the loop left. masks: the data set to learn from. reviewed: the cases that were looked at."""

    audit: Path
    masks: Path
    reviewed: tuple[str, ...]

    @property
    def report(self) -> Path:
        return self.audit / "report.html"

    @property
    def diff(self) -> Path | None:
        """None where no mask was changed."""
        path = self.masks / "diff.html"
        return path if path.exists() else None


def loop(noisy: Path, output: Path, words: list[str], device: str, jobs: int | None) -> Loop:
    """Audit ``noisy``, review some masks by the truth that ``simulate`` kept, audit again, mend.

    words: settings of the networks that judge. jobs: how many of them are trained at a time.
    """
    folder, mended = output / "audit", output / "mended"
    show("audit", noisy, "-o", folder, "--cross", 2, *words)
    first = audit(noisy, folder, cross=2, overrides=words, device=device, jobs=jobs).audit
    tell(*first.about.sentences)
    cases = to_review(first)
    show("review", folder)
    tell(f"here nobody sits before a page: a program that knows the truth reviews {len(cases)} masks as a person would")
    simulated_review(folder, noisy / "labelsTr_truth", cases)
    show("audit", noisy, "-o", folder, "--again")
    tell(*audit(noisy, folder, again=True, device=device, jobs=jobs).audit.about.sentences)
    show("mend", folder, "-o", mended, "--accept", "automatic")
    done = mend(folder, mended, accept="automatic")
    tell(f"{len(done.changes)} of {done.cases} masks were changed")
    return Loop(folder, done.output or noisy, tuple(cases))


def to_review(first: Audit) -> list[str]:
    """The cases that the audit asks for: some at random where all masks seem to err the same way, for no doubt tells
    these apart; else the most doubtful."""
    names = [row.case for row in first.rows]
    return at_random(names) if first.about.edges_mm else names[: max(1, round(REVIEWED * len(names)))]


def show(*words: object) -> None:
    """The command that does what comes next."""
    say(f"$ maskmend {shlex.join(str(word) for word in words)}")


def tell(*sentences: str) -> None:
    """What came of it."""
    for sentence in sentences:
        say(f"  {sentence}")


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
