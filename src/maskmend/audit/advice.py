"""Which method to train with, and why, from what is known of a data set's masks.

Few rules, the first that applies, each with what was measured (docs/results.md):

- Masks that a person reviewed are worth more than any method: sixteen of 160 won back 90 and 92 % of the gap, sixteen
  alone came within about a point of all; eight of 64 were too few for networks of their own, which is found out
  without harm. So they judge the others first.
- What every mask shares no network sees: where image edges contradict all of them, a few are reviewed at random. Nor
  does it know who is right where most masks are as a whole wider or tighter than its own.
- Else the default, which needs no share of wrong pixels and no clean mask. The methods that need either lost to plain
  training on some data, or came after those that have clean masks.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from ..data.dataset import Dataset, open_dataset
from ..methods import DEFAULT
from ..types import Trust
from .rank import AT_RANDOM, counted, listed
from .store import About, Audit, is_audit, open_audit, spoken
from .tau import EITHER


@dataclass(frozen=True)
class Advice:
    """What to do, and why. method: to train with in the end. steps: commands, in order."""

    method: str
    why: str
    steps: tuple[str, ...]

    @property
    def line(self) -> str:
        """In one sentence: the method, and what comes before it."""
        before = ", after " + " and ".join(step.split()[1] for step in self.steps[:-1]) if self.steps[1:] else ""
        return f"{self.method}{before}: {self.why}"

    def table(self) -> str:
        return "\n".join([self.line, *(f"  {step}" for step in self.steps)])


def advise(path: Path) -> Advice:
    """Of an audit, or of a data set that none has looked at.

    Raises:
        InputError: the folder is neither, or damaged.
    """
    return of_audit(open_audit(path)) if is_audit(path) else of_dataset(open_dataset(Path(path)))


def of_audit(audit: Audit) -> Advice:
    """From who was reviewed, what edges say, and what was doubted."""
    about, folder, data = audit.about, shlex.quote(str(audit.folder)), shlex.quote(audit.about.dataset)
    mended = (f"maskmend mend {folder} -o MENDED", _train("MENDED"))
    again = f"maskmend audit {data} -o {folder} --again"
    reviewed = sum(row.hint == "reviewed" for row in audit.rows)
    if reviewed and (reviewed == len(audit.rows) or any(judge.kind == "reviewed" for judge in about.judges)):
        return Advice(DEFAULT, f"{counted(reviewed, 'mask')} were reviewed, by which the others were judged.", mended)
    if reviewed >= AT_RANDOM:
        why = (
            f"{counted(reviewed, 'mask')} were reviewed, and are worth more than any method: let them judge the others."
        )
        return Advice(DEFAULT, why, (again, *mended))
    if shared := _shared(about):
        return Advice(DEFAULT, f"{shared}: review {AT_RANDOM} first.", (f"maskmend review {folder}", again, *mended))
    redrawn, looked_at = (sum(row.hint == hint for row in audit.rows) for hint in ("redraw", "review"))
    if about.looks_clean:
        why = "these masks look clean, and it then learns much as plain training does."
    elif about.judges:
        why = (
            f"{redrawn + looked_at} of {counted(len(audit.rows), 'mask')} are worth a look ({redrawn} can be redrawn, "
            f"{looked_at} for a person to decide), and it redraws wrong masks by itself."
        )
    else:
        why = "no network judged these masks (add --cross 2 to the audit); it judges them by itself."
    return Advice(DEFAULT, why, (_train(data),))


def _shared(about: About) -> str:
    """What no network can tell right from wrong, for many masks have it; "" where nothing of the kind is known."""
    if about.edges_mm:
        classes = listed([spoken(name) for name in about.edges_mm])
        return f"the images' edges contradict every mask of {classes}, which no network sees"
    torn = about.tau_image is not None and about.tau_image.unknown == EITHER and not about.looks_clean
    return EITHER if torn else ""


def of_dataset(dataset: Dataset) -> Advice:
    """From which cases are marked clean."""
    data = shlex.quote(str(dataset.root))
    clean = sum(case.trust is Trust.CLEAN for case in dataset.train)
    if clean == len(dataset.train):
        return Advice(
            DEFAULT, "every case is marked clean, and it then learns much as plain training does.", (_train(data),)
        )
    if clean:
        why = f"{counted(clean, 'case')} of {len(dataset.train)} are marked clean, which it believes."
        return Advice(DEFAULT, why, (_train(data),))
    why = "it needs no clean case and no share of wrong pixels; an audit tells whether to review some masks first."
    return Advice(DEFAULT, why, (f"maskmend audit {data} -o AUDIT --cross 2", _train(data)))


def _train(data: str) -> str:
    return f"maskmend train {data} --method {DEFAULT} -o RUN"
