"""``maskmend review``: a person looks at what an audit doubts, in her browser or in a program of hers."""

from __future__ import annotations

import getpass
import os
import shlex
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from ..audit.cross import ENOUGH
from ..audit.store import Audit, open_audit
from ..data.lock import hold
from ..errors import InputError
from ..review import effort
from ..review.elsewhere import edit_elsewhere
from ..review.journal import Journal
from ..review.outcome import Tally, spoken_of
from ..review.server import Running
from ..review.session import Session

UNSURE = "these masks do not count as right when networks learn from reviewed ones"


@dataclass(frozen=True)
class ReviewSummary:
    """Where a review stands: how many cases are done, what comes next in a sentence, and whether that is nothing,
    because few wrong masks are left."""

    audit: Audit
    tally: Tally
    sentence: str
    enough: bool

    def table(self) -> str:
        """As it is printed."""
        folder, tally = shlex.quote(str(self.audit.folder)), self.tally
        lines = [f"{self.audit.folder}: {tally}."]
        if tally.unsure:
            lines.append(f"You were unsure in {tally.unsure} of them: what you corrected there is kept, but {UNSURE}.")
        lines.append(f"{self.sentence}.")
        again = f"maskmend audit {shlex.quote(self.audit.about.dataset)} -o {folder} --again"
        if not self.enough and tally.sure >= ENOUGH:
            lines.append(f"Or let those that you are sure of judge the rest: {again}")
        elif not self.enough and tally.total > ENOUGH:
            lines.append(f"Review {ENOUGH - tally.sure} more, and they can judge the rest: {again}")
        if tally.changed:
            lines.append(f"Take the corrected masks: maskmend mend {folder} -o DATASET")
        elif self.enough:
            lines.append("No mask was changed, so there is nothing to mend.")
        return "\n".join(lines)


def review(
    audit: Path,
    *,
    reviewer: str | None = None,
    port: int = 0,
    browser: bool = True,
    blind: float = 0.1,
    seed: int = 0,
    open_with: str | None = None,
    case: str | None = None,
) -> ReviewSummary:
    """Serve the review page on this machine until Ctrl-C, or until *Finish* is pressed.

    Args:
        audit: the folder that ``audit`` made. Verdicts and strokes go to its review.jsonl; given labels never change.
        reviewer: who speaks; by default the login name.
        port: of 127.0.0.1; 0 takes any that is free.
        browser: open the page, besides printing its address.
        blind: share of undoubted cases that is mixed in, and of findings whose suggestion is hidden at first.
        seed: chooses these.
        open_with: slicer, itksnap or napari: edit one case there, and take back what was saved.
        case: which one; by default the most doubtful that is not done.

    Raises:
        InputError: the folder holds no audit, its labels changed, the journal is damaged, or the port is taken.
    """
    if not 0 <= blind <= 1:
        raise InputError(f"the blind share {blind} is no share; take one from 0 to 1.")
    opened = open_audit(Path(audit))
    for name in opened.cases:
        opened.check_unchanged(name)
    name = reviewer or _login()
    with ExitStack() as held:
        writer, why = _writer(opened, name, held)
        if open_with is not None:
            if writer is None:
                raise InputError(str(why))
            edit_elsewhere(opened, writer, open_with, case)
        else:
            _serve(Session(opened, writer, why, blind, seed), port, browser)
    states = spoken_of(opened)
    told, enough = effort.following(effort.order(opened.rows, blind, seed), opened.rows, states)
    return ReviewSummary(opened, Tally.of(len(opened.rows), states.values()), told, enough)


def _writer(audit: Audit, reviewer: str, held: ExitStack) -> tuple[Journal | None, str | None]:
    """The journal to write to; or why there is none, and the page is for looking only."""
    try:
        held.enter_context(hold(audit.folder))
    except InputError as error:
        return None, f"{str(error).split(';')[0]}: this page is for looking only"
    if not os.access(audit.folder, os.W_OK):
        return None, f"{audit.folder} cannot be written: this page is for looking only"
    writer = Journal(audit.folder, reviewer)
    held.callback(writer.close)
    return writer, None


def _serve(session: Session, port: int, browser: bool) -> None:
    started = Running(session, port)
    print(f"Review {session.audit.folder} at {started.address}", file=sys.stderr)
    if session.readonly:
        print(f"warning: {session.readonly}.", file=sys.stderr)
    print("Press Ctrl-C here, or Finish on the page, to end.", file=sys.stderr, flush=True)
    with _opened(started.address) if browser else nullcontext(), suppress(KeyboardInterrupt):
        started.serve()


@contextmanager
def _opened(address: str) -> Iterator[None]:
    """The page in the browser, by a file that only this user can read: a command line shows its words to others."""
    with tempfile.TemporaryDirectory(prefix="maskmend-") as folder:  # mode 0700
        path = Path(folder) / "review.html"
        path.touch(0o600)
        path.write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={address}">', encoding="utf-8")
        with suppress(webbrowser.Error):
            webbrowser.open(path.as_uri())
        yield


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"
