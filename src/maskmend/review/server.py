"""The routes between a review and its page. Cases and files are looked up in tables: no part of a request is a path."""

from __future__ import annotations

import errno
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..audit.store import open_audit
from ..config import parse
from ..errors import InputError
from .guard import Guard, new_token
from .journal import Journal, Said
from .session import Refused, Session

KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
HOST = "127.0.0.1"
"""The only address there is; from elsewhere, `ssh -L` leads to it."""

Handler = Callable[[Session, "_With"], Response]


def application(session: Session, token: str, port: int, finish: Callable[[], None]) -> Guard:
    """The whole server of one review."""
    here = files(__package__).joinpath("page")
    pages = {path.name: path.read_bytes() for path in here.iterdir() if _ending(path.name)}

    async def page(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in pages:
            raise Refused(404, "there is no such file")
        return Response(pages[name], media_type=KINDS[_ending(name)])

    async def end(request: Request) -> Response:
        finish()
        return JSONResponse({})

    def route(path: str, handler: Handler, method: str = "GET") -> Route:
        async def run(request: Request) -> Response:
            if "case" in request.path_params and request.path_params["case"] not in session.rows:
                raise Refused(404, "there is no such case")
            body = await request.body()
            return await run_in_threadpool(handler, session, _With(request, body))

        return Route(path, run, methods=[method])

    routes = [
        Route("/", page),
        Route("/page/{name}", page),
        route("/api/audit", lambda s, r: JSONResponse(s.worklist())),
        route("/api/summary", lambda s, r: JSONResponse(s.summary())),
        route("/api/review.csv", lambda s, r: Response(s.table(), media_type="text/csv")),
        route("/api/case/{case}", lambda s, r: JSONResponse(s.case(r.case))),
        *(route(f"/api/case/{{case}}/{name}", handler) for name, handler in PARTS.items()),
        route("/api/case/{case}/events", _say, "POST"),
        Route("/api/finish", end, methods=["POST"]),
    ]
    handlers: dict[Any, Callable[[Request, Exception], Awaitable[Response]]] = dict.fromkeys(
        (Refused, InputError, OSError, Exception, 404, 405), _told
    )
    return Guard(Starlette(routes=routes, exception_handlers=handlers), token, port)


class _With:
    """A request whose body was read."""

    def __init__(self, request: Request, body: bytes) -> None:
        self.case = request.path_params.get("case", "")
        self.query, self.body = request.query_params, body

    def number(self, name: str, default: int | None = None) -> int:
        text = self.query.get(name)
        if text is None and default is not None:
            return default
        try:
            return int(text or "")
        except ValueError:
            raise Refused(422, f"{name} should be a whole number") from None

    def window(self) -> tuple[float, float] | None:
        try:
            low, high = (float(self.query[name]) for name in ("low", "high"))
        except (KeyError, ValueError):
            return None
        return (low, high) if low == low and high == high else None


def _ending(name: str) -> str:
    return next((ending for ending in KINDS if name.endswith(ending)), "")


async def _told(request: Request, error: Exception) -> Response:
    """Every error as one sentence. What a person may try again has a status from 500 on."""
    status = getattr(error, "status", getattr(error, "status_code", 422 if isinstance(error, InputError) else 500))
    sentence = str(getattr(error, "detail", error))
    if status == 500:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        status, what = 507 if full else 500, "not saved" if request.method == "POST" else "not read"
        sentence = f"{what}: {getattr(error, 'strerror', None) or sentence or type(error).__name__}"
    return JSONResponse({"error": sentence}, status)


# --- the parts of a case ----------------------------------------------------------------------------------------------


def _place(session: Session, request: _With) -> tuple[int, int, int]:
    """Axis, index and channel. Raises Refused where there is no such plane."""
    view = session.view(request.case)
    axis, index, channel = request.number("axis"), request.number("index"), request.number("channel", 0)
    shape = view.given.shape
    if not (0 <= axis < 3 and 0 <= index < shape[axis] and 0 <= channel < max(1, len(view.channels))):
        raise Refused(422, f"there is no slice {index} across axis {axis} of {shape}, or no channel {channel}")
    return axis, index, channel


def _bytes(content: bytes, rows: int, columns: int, bands: int = 1) -> Response:
    headers = {"X-Rows": str(rows), "X-Cols": str(columns), "X-Bands": str(bands)}
    return Response(content, media_type="application/octet-stream", headers=headers)


def _image(session: Session, request: _With) -> Response:
    axis, index, channel = _place(session, request)
    view = session.view(request.case)
    if view.image is None:
        raise Refused(404, "this case has no image")
    plane = view.shown(axis, index, channel, request.window())
    return _bytes(plane.tobytes(), *plane.shape)


def _labels(session: Session, request: _With) -> Response:
    axis, index, _ = _place(session, request)
    view = session.view(request.case)
    rows, columns = (n for a, n in enumerate(view.given.shape) if a != axis)
    with session.lock:
        return _bytes(view.labels(axis, index, session.hidden(request.case)), rows, columns, 4)


def _doubt(session: Session, request: _With) -> Response:
    axis, index, _ = _place(session, request)
    doubt = session.view(request.case).doubt
    if doubt is None:
        raise Refused(404, "nobody judged this case")
    if session.veils(request.case) and not session.found[request.case]:
        raise Refused(404, "what the networks doubt here is shown once you are done with this case")
    plane = doubt.take(index, axis)
    return _bytes(plane.tobytes(), *plane.shape)


def _superpixels(session: Session, request: _With) -> Response:
    axis, index, channel = _place(session, request)
    view = session.view(request.case)
    if view.image is None:
        raise Refused(404, "this case has no image")
    plane = view.superpixels(axis, index, channel)
    return _bytes(plane.tobytes(), *plane.shape)


def _thumbnail(session: Session, request: _With) -> Response:
    return Response(session.thumbnail(request.case), media_type="image/png")


PARTS: dict[str, Handler] = {
    "image": _image, "labels": _labels, "doubt": _doubt, "superpixels": _superpixels, "thumbnail": _thumbnail,
}  # fmt: skip


def _say(session: Session, request: _With) -> Response:
    try:
        said = parse(Said, _json(request.body))
    except (ValueError, RecursionError, InputError) as error:
        raise Refused(422, f"this cannot be read: {error}") from None
    return JSONResponse(session.say(request.case, said))


def _json(body: bytes) -> Any:
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError("it should be an object")
    return found


# --- starting it ------------------------------------------------------------------------------------------------------


class Running:
    """A server that listens: ``address`` leads to it, the token in its fragment. ``wait`` until it is finished."""

    def __init__(self, session: Session, port: int = 0) -> None:
        self.session, self.socket = session, _listen(port)
        port = self.socket.getsockname()[1]
        token = new_token()
        self.address = f"http://{HOST}:{port}/#{token}"
        app = application(session, token, port, self.stop)
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", server_header=False, workers=1)
        self.server = uvicorn.Server(config)

    def stop(self) -> None:
        self.server.should_exit = True

    def serve(self) -> None:
        """Until ``stop``, or Ctrl-C."""
        self.server.run(sockets=[self.socket])


def _listen(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()
    except (OSError, OverflowError) as error:
        listening.close()
        raise InputError(f"--port {port} cannot be taken ({error}); choose another, or leave it out.") from None
    return listening


@contextmanager
def running(folder: Path, reviewer: str = "tester", blind: float = 0.0, seed: int = 0) -> Iterator[str]:
    """The address of a review of an audit, served by a thread while the block lasts; the token is in its fragment."""
    writer = Journal(folder, reviewer)
    started = Running(Session(open_audit(folder), writer, None, blind, seed))
    thread = threading.Thread(target=started.serve, daemon=True)
    thread.start()
    try:
        yield started.address
    finally:
        started.stop()
        thread.join(10)
        writer.close()
