"""The server by HTTP: what the page is told, what it may say, and what the guard refuses."""

from __future__ import annotations

import errno
import http.client
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskmend.audit import store
from maskmend.audit.pictures import thumbnail
from maskmend.audit.store import Audit
from maskmend.data.formats import read_label, write_label
from maskmend.review import session, views
from maskmend.review.journal import Journal, read
from maskmend.review.server import running
from tests.review.made import boxes, make_audit

SHAPE = (6, 9, 12)
LINKED = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
FRAMED = LINKED | {"Sec_Fetch_Dest": "iframe"}


class Client:
    def __init__(self, audit: Audit, address: str) -> None:
        self.audit = audit
        place, self.token = address.removeprefix("http://").split("/#")
        self.host = place

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str | None) -> tuple[int, Any, Any]:
        """Status, headers, and the body; ``headers`` over those that the page sends, None leaves one out."""
        sent: dict[str, str | None] = {"X-Token": self.token, "Host": self.host}
        if body is not None:
            sent["Content-Type"] = "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        talk = http.client.HTTPConnection(self.host, timeout=10)
        talk.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in sent.items():
            if value is not None:
                talk.putheader(name, value)
        talk.putheader("Content-Length", str(len(body or b"")))
        talk.endheaders(body)
        answer = talk.getresponse()
        content = answer.read()
        talk.close()
        return answer.status, answer.headers, content

    def get(self, path: str) -> Any:
        status, _, content = self.ask("GET", path)
        assert status == 200, content
        return json.loads(content)

    def say(self, case: str, **said: Any) -> tuple[int, Any]:
        status, _, content = self.ask("POST", f"/api/case/{case}/events", json.dumps(said).encode())
        return status, json.loads(content)

    def planes(self, case: str, axis: int, index: int) -> np.ndarray:
        _, headers, content = self.ask("GET", f"/api/case/{case}/labels?axis={axis}&index={index}")
        shape = int(headers["X-Bands"]), int(headers["X-Rows"]), int(headers["X-Cols"])
        return np.frombuffer(content, "<u2").reshape(shape)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    audit = make_audit(tmp_path, SHAPE, names=("a", "b", "c <img src=x>"))
    with running(audit.folder) as address:
        yield Client(audit, address)


def test_what_the_page_is_told(client: Client) -> None:
    told = client.get("/api/audit")
    assert [case["case"] for case in told["cases"]] == ["a", "b", "c <img src=x>"]
    assert told["cases"][0]["kinds"] == ["missing", "spurious"]
    assert told["progress"]["sentence"] == "0 of 3 cases done"
    case = client.get("/api/case/a")
    assert case["shape"] == list(SHAPE)
    assert [f["verdict"] for f in case["findings"]] == [None, None]
    assert case["findings"][0]["slice"][0] in range(SHAPE[0])
    assert client.get("/api/case/c%20%3Cimg%20src%3Dx%3E")["case"] == "c <img src=x>"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_planes_are_those_of_the_files(client: Client, axis: int) -> None:
    index = SHAPE[axis] // 2
    given, suggestion, numbers, now = client.planes("a", axis, index)
    expected = {room: client.audit.map(room, "a") for room in ("suggestions", "findings")}
    assert (given == boxes(SHAPE).take(index, axis)).all()
    assert (suggestion == np.asarray(expected["suggestions"]).take(index, axis)).all()
    assert (numbers == np.asarray(expected["findings"]).take(index, axis)).all()
    assert (now == given).all()
    _, headers, image = client.ask("GET", f"/api/case/a/image?axis={axis}&index={index}&low=0&high=255")
    shape = int(headers["X-Rows"]), int(headers["X-Cols"])
    expected_image = client.audit.image("a").array[0].take(index, axis)
    assert np.abs(np.frombuffer(image, np.uint8).reshape(shape).astype(int) - expected_image).max() <= 1
    status, headers, regions = client.ask("GET", f"/api/case/a/superpixels?axis={axis}&index={index}&channel=0")
    assert status == 200
    assert len(np.frombuffer(regions, "<u4")) == shape[0] * shape[1]


def test_what_is_said_and_drawn_is_kept(client: Client) -> None:
    first, second = client.get("/api/case/a")["findings"]
    assert client.say("a", do="done")[0] == 409, "every finding needs a verdict"
    assert client.say("a", do="verdict", finding=first["id"], verdict="accepted", seconds=2, shown="both")[0] == 200
    assert client.say("a", do="verdict", finding=second["id"], verdict="refused")[0] == 200
    before = client.planes("a", 1, 0)[3]
    stroke = {"do": "stroke", "axis": 1, "index": 0, "runs": [[1, 3, 5, 2]], "tool": "brush", "key": "f" * 32}
    assert client.say("a", **stroke)[0] == 200
    again = client.say("a", **stroke)[1]
    assert again["n"] == 3, "the same key is written once"
    assert (client.planes("a", 1, 0)[3][1, 3:5] == 2).all()
    told = client.say("a", do="undo")[1]["case"]
    assert told["can_redo"]
    assert (client.planes("a", 1, 0)[3] == before).all()
    client.say("a", do="redo")
    status, told = client.say("a", do="done")
    assert (status, told["case"]["done"], told["progress"]["done"]) == (200, True, 1)
    drawn = read_label(client.audit.file("drawn", "a")).array
    assert (drawn[1, 0, 3:5] == 2).all()
    assert client.get("/api/summary")["curve"] == [[1, 1]]
    assert [event.do for event in read(client.audit.folder)][-1] == "done"
    _, _, table = client.ask("GET", "/api/review.csv")
    assert table.decode().splitlines()[1].startswith(f"a,{first['id']},")


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"do": "stroke", "axis": 0, "index": 0, "runs": [[0, 0, 99, 1]]}, 422),
        ({"do": "stroke", "axis": 0, "index": 0, "runs": [[0, 0, 1, 9]]}, 422),
        ({"do": "stroke", "axis": 0, "index": 0}, 422),
        ({"do": "fly"}, 422),
        ({"do": "verdict", "finding": "a:99", "verdict": "accepted"}, 404),
        ({"do": "undo"}, 409),
        ({"do": "comment", "comment": "x" * 3000}, 422),
    ],
)
def test_what_cannot_be_said(client: Client, said: dict[str, Any], status: int) -> None:
    assert client.say("a", **said)[0] == status
    assert not read(client.audit.folder)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/api/audit", {"X_Token": None}, 403),
        ("GET", "/api/audit", {"X_Token": "x"}, 403),
        ("GET", "/", {"Host": "evil.example"}, 403),
        ("GET", "/", {"Host": "127.0.0.1"}, 403),
        ("GET", "/", {"Host": "127.0.0.1.evil.example:80"}, 403),
        ("GET", "/api/audit", {"Origin": "http://evil.example"}, 403),
        ("GET", "/api/audit", {"Origin": "null"}, 403),
        ("GET", "/api/audit", {"Sec_Fetch_Site": "cross-site"}, 403),
        ("GET", "/api/audit", {"Sec_Fetch_Site": "same-site"}, 403),
        ("GET", "/", {"Sec_Fetch_Site": "cross-site"}, 403),
        ("GET", "/", FRAMED, 403),
        ("GET", "/page/main.js", LINKED, 403),
        ("GET", "/api/audit", LINKED, 403),
        ("POST", "/", LINKED, 403),
        ("POST", "/api/case/a/events", {"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ("POST", "/api/case/a/events", {"Content_Type": "text/plain"}, 415),
        ("OPTIONS", "/api/audit", {}, 405),
        ("DELETE", "/api/audit", {}, 405),
        ("GET", "/page/..%2f..%2fguard.py", {}, 404),
        ("GET", "/page/../guard.py", {}, 404),
        ("GET", "/api/case/..%2f..%2fsecret", {}, 404),
        ("GET", "/api/case/nobody", {}, 404),
        ("GET", "/api/case/a/image?axis=0&index=99", {}, 422),
        ("GET", "/api/case/a/image?axis=0", {}, 422),
        ("GET", "/api/case/b/doubt?axis=0&index=0", {}, 404),
    ],
)
def test_what_is_refused(client: Client, method: str, path: str, headers: dict[str, str | None], status: int) -> None:
    body = b"{}" if method == "POST" else None
    got, answered, content = client.ask(method, path, body, **headers)
    assert got == status, content
    assert "access-control-allow-origin" not in answered
    assert answered["content-security-policy"].startswith("default-src 'none'")


def test_a_link_leads_to_the_empty_page_alone(client: Client) -> None:
    status, headers, content = client.ask("GET", "/", X_Token=None, **LINKED)
    assert status == 200
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert client.token.encode() not in content


def test_a_body_that_is_too_large(client: Client) -> None:
    assert client.ask("POST", "/api/case/a/events", b" " * ((4 << 20) + 1))[0] == 413


def test_every_answer_is_for_this_page_alone(client: Client) -> None:
    for path in ("/", "/page/style.css", "/api/audit"):
        status, headers, _ = client.ask("GET", path)
        assert status == 200
        for name, value in (
            ("x-content-type-options", "nosniff"), ("cache-control", "no-store"), ("referrer-policy", "no-referrer"),
        ):  # fmt: skip
            assert headers[name] == value


def test_what_was_drawn_lies_beside_as_it_is_now(client: Client) -> None:
    path = client.audit.file("drawn", "b")
    client.say("b", do="stroke", axis=0, index=0, runs=[[0, 0, 3, 1]])
    client.say("b", do="done")
    assert (read_label(path).array[0, 0, :4] == [1, 1, 1, 0]).all()
    assert client.say("b", do="undo")[0] == 409, "it is done"
    client.say("b", do="stroke", axis=0, index=0, runs=[[0, 3, 4, 2]])
    assert (read_label(path).array[0, 0, :4] == [1, 1, 1, 2]).all()
    client.say("b", do="reopen")
    for _ in range(2):
        client.say("b", do="undo")
    client.say("b", do="done")
    assert not path.exists(), "it is the given label again"


def test_a_full_disk_is_told_and_the_same_event_can_be_sent_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    stroke = {"do": "stroke", "axis": 0, "index": 0, "runs": [[0, 0, 3, 1]], "key": "0" * 32}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as on:
        on.setattr(Journal, "_write", full)
        assert client.say("a", **stroke) == (507, {"error": "not saved: No space left on device"})
    assert not client.planes("a", 0, 0)[3].any()
    assert client.say("a", **stroke)[0] == 200
    assert client.planes("a", 0, 0)[3].sum() == 3


def test_what_nobody_foresaw_is_told_as_a_sentence(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(views, "load", fails)
    status, headers, content = client.ask("GET", "/api/case/a")
    assert (status, json.loads(content)) == (500, {"error": "not read: MemoryError"})
    assert headers["content-security-policy"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 100_000, b'{"do":"open","seconds":Infinity}', b"\xff",
                                  b'{"do":"comment","comment":"\\ud800"}', b'{"do":"open","axis":true}'])  # fmt: skip
def test_a_body_that_is_no_event(client: Client, body: bytes) -> None:
    status, _, content = client.ask("POST", "/api/case/a/events", body)
    assert status == 422
    assert json.loads(content)["error"]
    assert not read(client.audit.folder)


def test_a_thumbnail_is_made_once_and_whole_cases_are_read_one_at_a_time(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, most, made = list[str](), list[int](), list[str]()

    def read(case: str) -> None:
        reading.append(case)
        most.append(len(reading))
        time.sleep(0.02)
        reading.remove(case)

    def draws(_: Audit, case: str, suggesting: bool) -> bytes:
        assert suggesting
        read(case)
        made.append(case)
        return b"png"

    def loads(audit: Audit, case: str, load: Any = views.load) -> Any:
        read(case)
        return load(audit, case)

    monkeypatch.setattr(session, "thumbnail", draws)
    monkeypatch.setattr(views, "load", loads)
    paths = [f"/api/case/{case}{part}" for part in ("/thumbnail", "") for case in "abab"]
    with ThreadPoolExecutor(len(paths)) as pool:
        answers = list(pool.map(lambda path: client.ask("GET", path), paths))
    assert [status for status, *_ in answers] == [200] * len(paths)
    assert (sorted(made), max(most)) == (["a", "b"], 1)


def test_a_hidden_suggestion_is_not_told(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, SHAPE)
    with running(audit.folder, blind=1.0) as address:
        client = Client(audit, address)
        found = client.get("/api/case/a")["findings"]
        assert all(f["hidden"] for f in found)
        index = found[0]["slice"][0]
        given, suggestion, *_ = client.planes("a", 0, index)
        assert (given == suggestion).all()
        small = client.ask("GET", "/api/case/a/thumbnail")[2]
        assert small == thumbnail(audit, "a", suggesting=False)
        assert small != thumbnail(audit, "a")
        client.say("a", do="verdict", finding=found[0]["id"], verdict="accepted", shown="given")
        given, suggestion, *_ = client.planes("a", 0, index)
        assert (given != suggestion).any()
        client.say("a", do="verdict", finding=found[0]["id"], verdict="refused", shown="both")
        blind = client.get("/api/summary")["blind"]
        assert blind["hidden"] == [1, 1], "the first answer counts"
        client.say("a", do="undo")
        client.say("a", do="undo")
        assert not client.get("/api/case/a")["findings"][0]["hidden"], "she has seen it"
        assert client.get("/api/summary")["blind"]["hidden"] == [1, 1]


def test_which_cases_are_undoubted_is_not_told(tmp_path: Path) -> None:
    """Nothing but the filters' words tells cases apart before she is done with them."""
    audit = make_audit(tmp_path, SHAPE)
    doubt = {"doubt": boxes(SHAPE)}  # both were judged
    for case in "ab":
        store.write_case(audit.folder, audit.about, case, audit.findings(case), doubt, audit.given("a").geometry)
    with running(audit.folder, blind=0.1) as address:
        client = Client(audit, address)
        for line in client.get("/api/audit")["cases"]:
            assert set(line) == {"case", "classes", "kinds", "state", "changed", "told"}
            assert line["told"] is None
        small = {case: client.ask("GET", f"/api/case/{case}/thumbnail")[2] for case in "ab"}
        assert small == {case: thumbnail(audit, case, suggesting=False) for case in "ab"}
        assert client.ask("GET", "/api/case/b/doubt?axis=0&index=0")[0] == 404
        client.say("b", do="done")
        told = {line["case"]: line["told"] for line in client.get("/api/audit")["cases"]}
        assert told == {"a": None, "b": {"doubt": 0.25, "findings": 0, "seen": 0}}
        assert client.ask("GET", "/api/case/b/doubt?axis=0&index=0")[0] == 200
        assert client.get("/api/summary")["blind"]["undoubted"] == [0, 1]
    with running(audit.folder) as address:
        assert all(line["told"] for line in Client(audit, address).get("/api/audit")["cases"])


def test_a_case_with_findings_is_not_undoubted(client: Client) -> None:
    rows = [row.model_copy(update={"hint": "fine"}) for row in client.audit.rows]
    store.write_rows(client.audit.folder, rows)
    with running(client.audit.folder, "another") as address:
        asking = Client(client.audit, address)
        for finding in asking.get("/api/case/a")["findings"]:
            asking.say("a", do="verdict", finding=finding["id"], verdict="accepted")
        asking.say("a", do="done")
        assert asking.get("/api/summary")["blind"] is None


def test_nothing_can_be_accepted_where_nothing_is_suggested(client: Client) -> None:
    said = client.get("/api/case/a")["findings"][0]
    path = client.audit.folder / "findings" / "a.json"
    path.write_text(path.read_text().replace('"suggested": true', '"suggested": false'))
    with running(client.audit.folder, "another") as address:
        asking = Client(client.audit, address)
        status, told = asking.say("a", do="verdict", finding=said["id"], verdict="accepted")
        assert (status, told["error"]) == (422, "nothing is suggested here; draw what is right")
        assert asking.say("a", do="verdict", finding=said["id"], verdict="refused")[0] == 200


def test_a_label_that_changes_meanwhile_is_not_done(client: Client) -> None:
    stroke = {"do": "stroke", "axis": 0, "index": 0, "runs": [[0, 0, 3, 1]]}
    assert client.say("b", **stroke)[0] == 200
    path = client.audit.cases["b"].label
    assert path is not None
    write_label(path, 0 * boxes(SHAPE), client.audit.given("a").geometry)
    status, told = client.say("b", do="done")
    assert (status, "changed since" in told["error"]) == (422, True)
    assert [event.do for event in read(client.audit.folder)] == ["stroke"]


def test_what_she_did_not_look_at_was_not_hidden(client: Client) -> None:
    finding = client.get("/api/case/a")["findings"][0]["id"]
    client.say("a", do="verdict", finding=finding, verdict="accepted", shown="given")
    assert client.get("/api/summary")["blind"] is None


def test_a_picture_in_colour(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, (8, 10), ending=".png", channels=3)
    with running(audit.folder) as address:
        client = Client(audit, address)
        told = client.get("/api/case/a")
        assert (told["shape"], told["rgb"], told["letters"][0]) == ([1, 8, 10], True, ["", ""])
        _, headers, image = client.ask("GET", "/api/case/a/image?axis=0&index=0&channel=0")
        assert headers["X-Bands"] == "3"
        shown = np.frombuffer(image, np.uint8).reshape(8, 10, 3)
        assert (shown == np.moveaxis(audit.image("a").array, 0, -1)).all()
