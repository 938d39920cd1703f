"""A few pages below a token, for browsers that measure: what is served is listed before, and uploads are bounded.

Nothing of an address becomes a path: it is looked up in a table. Whoever lacks the token gets an empty 404 for all.
"""

from __future__ import annotations

import hmac
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath

from tflite_export.errors import TfliteError

LOOPBACK = "127.0.0.1"
UPLOADS = "figures"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
}
_TEXT = "text/plain; charset=utf-8"
_POLL, _LAST_SECONDS = 0.05, 2.0
_SECONDS = 30  # that a browser may be silent in the middle of a request
# The page may speak to nobody but this server; isolation gives it threads and a finer clock, where it is secure.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval';"
    " worker-src 'self' blob:; img-src 'self' data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class RejectedError(TfliteError):
    """What was uploaded is not understood."""


@dataclass(frozen=True)
class Receipt:
    """What to answer to an upload, empty where nothing is wrong with it; ``keep`` is called behind the answer."""

    wrong: str
    keep: Callable[[], None]


@dataclass(frozen=True)
class Site:
    """What is served, by its name below the token, and what takes an upload.

    ``receive`` raises ``RejectedError`` for what is no upload of the page; at most ``uploads`` of ``upload_bytes`` each
    get to it.
    """

    contents: Mapping[str, Callable[[], bytes]]
    receive: Callable[[bytes], Receipt]
    upload_bytes: int
    uploads: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16))


@contextmanager
def served(site: Site, host: str = LOOPBACK, port: int = 0) -> Iterator[str]:
    """The address of a site while it is served; raises ``TfliteError`` where that port is not to be had."""
    try:
        server = _Server((host, port), partial(_Handler, site, threading.BoundedSemaphore(site.uploads)))
    except OSError as error:
        raise TfliteError(f"cannot serve a page at {host}, port {port}: {error.strerror}") from None
    over = threading.Event()
    thread = threading.Thread(target=_serve, args=(server, over), daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.server_address[1]}/{site.token}/"
    finally:
        over.set()
        # Not for ever: where the program itself is ending, the thread runs no more.
        thread.join(_LAST_SECONDS)
        server.server_close()


def _serve(server: _Server, over: threading.Event) -> None:
    while not over.is_set():
        server.handle_request()


class _Server(ThreadingHTTPServer):
    """Asks every moment whether it is to end."""

    daemon_threads = True
    timeout = _POLL

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that goes away in the middle is no fault."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def lan_address() -> str:
    """This machine's address on the network that leads out; raises ``TfliteError`` where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))  # an address for documents; a datagram socket sends nothing here
            return str(probe.getsockname()[0])
        except OSError:
            raise TfliteError("this machine is on no network; leave out --lan to serve its own browsers") from None


class _Handler(BaseHTTPRequestHandler):
    """Looks names up in a site's table."""

    protocol_version = "HTTP/1.1"
    timeout = _SECONDS

    def __init__(self, site: Site, left: threading.Semaphore, *arguments: object) -> None:
        self._site, self._left = site, left
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """A file of the page."""
        name = self._name()
        content = self._site.contents.get(name) if name is not None else None
        if content is None:
            return self._answer(HTTPStatus.NOT_FOUND)
        return self._answer(HTTPStatus.OK, content(), _TYPES.get(PurePosixPath(name or "x.html").suffix, ""))

    def do_POST(self) -> None:
        """An upload of the page."""
        self.close_connection = True  # of a body that is not read, the rest would pass for the next request
        if self._name() != UPLOADS:
            return self._answer(HTTPStatus.NOT_FOUND)
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            return self._answer(HTTPStatus.LENGTH_REQUIRED)
        if len(length) > 12 or int(length) > self._site.upload_bytes:
            return self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if not self._left.acquire(blocking=False):
            return self._answer(HTTPStatus.TOO_MANY_REQUESTS)
        try:
            receipt = self._site.receive(self.rfile.read(int(length)))
        except RejectedError as error:
            return self._answer(HTTPStatus.BAD_REQUEST, str(error).encode(), _TEXT)
        status = HTTPStatus.UNPROCESSABLE_ENTITY if receipt.wrong else HTTPStatus.NO_CONTENT
        self._answer(status, receipt.wrong.encode(), _TEXT)
        return receipt.keep()

    def _name(self) -> str | None:
        """What is asked for below the token; None where the token is wrong."""
        token, slash, name = self.path.partition("?")[0].removeprefix("/").partition("/")
        same = hmac.compare_digest(token.encode("utf-8", "replace"), self._site.token.encode())
        return name if same and slash else None

    def _answer(self, status: HTTPStatus, content: bytes = b"", kind: str = "") -> None:
        self.send_response_only(status)
        if content:
            for name, value in _HEADERS.items():
                self.send_header(name, value)
            self.send_header("Content-Type", kind or "application/octet-stream")
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Nothing but the number: requests that are none learn nothing of this server."""
        self.close_connection = True
        self._answer(HTTPStatus(code))

    def log_message(self, format: str, *arguments: object) -> None:
        """Addresses hold the token: none is written down."""
