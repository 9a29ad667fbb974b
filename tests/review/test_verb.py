"""`maskmend review`: its page opens in a browser, one person writes at a time, and it says where a review stands."""

from __future__ import annotations

import importlib
import json
import shutil
import stat
import threading
import urllib.request
import webbrowser
from collections.abc import Callable
from pathlib import Path

import pytest

from maskmend.data.formats import write_label
from maskmend.data.lock import hold
from maskmend.errors import InputError
from maskmend.review.journal import read
from maskmend.review.outcome import Tally
from maskmend.review.server import running
from tests.review.made import boxes, make_audit

verb = importlib.import_module("maskmend.verbs.review")
SHAPE = (6, 9, 12)


def ask(address: str, path: str, said: object = None) -> dict[str, object]:
    place, token = address.split("/#")
    body = None if said is None else json.dumps(said).encode()
    headers = {"X-Token": token, "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(place + path, body, headers), timeout=10) as answer:
        told: dict[str, object] = json.load(answer)
    return told


@pytest.fixture
def browsing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], None]], None]:
    """What a person does on the page, given its address; the review is over when she has done it."""

    def does(act: Callable[[str], None]) -> None:
        def opened(uri: str) -> bool:
            path = Path(uri.removeprefix("file://"))
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            address = path.read_text("utf-8").split("url=")[1].split('"')[0]

            def person() -> None:
                try:
                    act(address)
                finally:
                    ask(address, "/api/finish", {})

            threading.Thread(target=person, daemon=True).start()
            return True

        monkeypatch.setattr(webbrowser, "open", opened)

    return does


def test_a_review_from_its_browser_to_its_summary(
    tmp_path: Path, browsing: Callable[[Callable[[str], None]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    audit = make_audit(tmp_path, SHAPE)

    def accept(address: str) -> None:
        with pytest.raises(InputError, match="in use"), hold(audit.folder):
            pass
        for finding in audit.findings("a"):
            ask(address, "/api/case/a/events", {"do": "verdict", "finding": finding.id, "verdict": "accepted"})
        ask(address, "/api/case/a/events", {"do": "done"})

    browsing(accept)
    summary = verb.review(audit.folder, reviewer="Anna B.")
    assert (summary.tally, summary.enough) == (Tally(2, 1, 1, 0), False)
    assert f"maskmend mend {audit.folder} -o" in summary.table()
    assert "--again" not in summary.table(), "an audit of two cases cannot be judged by eight"
    assert {event.reviewer for event in read(audit.folder)} == {"Anna B."}
    assert "http://127.0.0.1:" in capsys.readouterr().err
    with hold(audit.folder):  # free again
        pass


@pytest.mark.parametrize(
    ("done", "enough", "changed", "there", "absent"),
    [
        (3, False, 1, "Review 5 more, and they can judge the rest: maskmend audit ", "Or let"),
        (8, False, 2, "Or let those that you are sure of judge the rest: maskmend audit ", "more, and"),
        (9, True, 2, "maskmend mend ", "--again"),
        (9, True, 0, "nothing to mend", "maskmend"),
    ],
)
def test_what_comes_next_fits_how_far_she_is(
    tmp_path: Path, done: int, enough: bool, changed: int, there: str, absent: str
) -> None:
    audit = make_audit(tmp_path, SHAPE, tuple("abcdefghijkl"))
    said = verb.ReviewSummary(audit, Tally(12, done, changed, 0), "So it goes", enough).table()
    assert there in said
    assert absent not in said.replace(str(tmp_path), "")
    assert (f"maskmend mend {audit.folder} -o" in said) == bool(changed)


def test_what_she_was_unsure_of_is_counted_and_kept(tmp_path: Path) -> None:
    """Done and changed count whether she was sure or not; the rest is judged by what she is sure of alone."""
    audit = make_audit(tmp_path, SHAPE, tuple("abcdefghijkl"))
    said = verb.ReviewSummary(audit, Tally(12, 8, 8, 6), "So it goes", False).table()
    assert "8 of 12 cases done, 8 of them changed." in said
    assert "unsure in 6 of them: what you corrected there is kept" in said
    assert "Review 6 more" in said
    assert f"maskmend mend {audit.folder} -o" in said


def test_a_second_reviewer_may_look(tmp_path: Path, browsing: Callable[[Callable[[str], None]], None]) -> None:
    audit, told = make_audit(tmp_path, SHAPE), list[object]()
    browsing(lambda address: told.append(ask(address, "/api/audit")["readonly"]))
    with hold(audit.folder):
        verb.review(audit.folder)
    assert "in use by process" in str(told[0])
    assert not read(audit.folder)


def test_what_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, SHAPE)
    with pytest.raises(InputError, match="blind share"):
        verb.review(audit.folder, blind=2)
    with pytest.raises(InputError, match="no audit"):
        verb.review(tmp_path)
    with running(audit.folder) as address, pytest.raises(InputError, match="--port"):
        verb.review(audit.folder, port=int(address.split(":")[2].split("/")[0]), browser=False)
    path = audit.cases["b"].label
    assert path is not None
    write_label(path, 0 * boxes(SHAPE), audit.given("a").geometry)
    with pytest.raises(InputError, match="changed since"):
        verb.review(audit.folder, browser=False)


def test_the_file_leads_a_real_browser_to_the_page(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no chromium is installed")
    audit, files = make_audit(tmp_path, SHAPE), list[str]()
    with running(audit.folder) as address, sync_api.sync_playwright() as playwright, pytest.MonkeyPatch.context() as on:
        on.setattr(webbrowser, "open", files.append)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        with verb._opened(address):
            page.goto(files[0])
            sync_api.expect(page.get_by_role("button", name="Start with a")).to_be_visible()
            assert page.url == address.split("#")[0]
        browser.close()
