"""Who may ask the server what. It serves one person, on this machine, in one page.

No other site may reach it through her browser: not by a name that resolves here (``Host``), not by a request of another
page (``Origin``, ``Sec-Fetch-Site``, JSON only), and not without the token, which travels in the fragment of the
address that was printed, and so never leaves her browser but to come here. What a link may lead to is the empty page,
which holds nothing: her browser is sent there by a file, and that is another site to it.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST = 4 << 20
"""Bytes of a body."""
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
SITES = ("same-origin", "none")
LINK = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
"""What a browser says of a link that was followed, and of no script, form with a body, frame or picture."""


def new_token() -> str:
    """256 bits for one start."""
    return secrets.token_urlsafe(32)


class Guard:
    """Lets through what the page asks, and puts ``HEADERS`` on every answer."""

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self.app, self.token = app, token
        self.hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                kept = [pair for pair in message.get("headers", []) if pair[0].decode().lower() not in HEADERS]
                message = {**message, "headers": [*kept, *own]}
            await send(message)

        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if refusal := self._refusal(scope, headers):
            await _refuse(guarded, *refusal)
            return
        body = await _body(receive) if scope["method"] == "POST" else b""
        if body is None:
            await _refuse(guarded, 413, f"a body has {LARGEST >> 20} MB at most")
            return

        async def read() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, read, guarded)

    def _refusal(self, scope: Scope, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Status and reason, or None for what may pass."""
        if headers.get("host") not in self.hosts or sum(name == b"host" for name, _ in scope["headers"]) != 1:
            return 403, "this server answers to 127.0.0.1 and localhost alone"
        if "origin" in headers and headers["origin"] not in {f"http://{host}" for host in self.hosts}:
            return 403, "another page may not ask this server"
        link = scope["path"] == "/" and scope["method"] == "GET" and LINK.items() <= headers.items()
        if headers.get("sec-fetch-site", "none") not in SITES and not link:
            return 403, "another site may not ask this server"
        if scope["path"].startswith("/api") and not hmac.compare_digest(
            headers.get("x-token", "").encode(), self.token.encode()
        ):
            return 403, "the token is missing or of another start; open the address that was printed"
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return 405, "there is nothing here but GET and POST"
        if scope["method"] == "POST" and headers.get("content-type", "").split(";")[0].strip() != "application/json":
            return 415, "send JSON"
        if not headers.get("content-length", "0").isdecimal() or int(headers.get("content-length", "0")) > LARGEST:
            return 413, f"a body has {LARGEST >> 20} MB at most"
        return None


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None if it is too large, or never came whole."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > LARGEST or message["type"] == "http.disconnect":
            return None
        if not message.get("more_body", False):
            return bytes(body)


async def _refuse(send: Send, status: int, sentence: str) -> None:
    content = json.dumps({"error": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
