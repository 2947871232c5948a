"""Real HTTP and HTTPS servers on loopback, under names that only a policy's `hosts` knows.

    with Web(folder) as web:
        web.text("/", "<h1>Hello</h1>")
        policy = web.policy()          # a mapping for SandboxGroup(egress_policy=...)
        web.url("/"), web.url("/", tls=True)

Each name below is served by the same two servers; `web.seen` tells who asked for what.
"""

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from .authority import Authority

NAMES = ("site.test", "other.test", "evil.test")
"""`policy()` allows the first two."""

ADDRESS = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrived. `headers` in lower case, the last of each."""

    method: str
    path: str
    query: str
    host: str
    tls: bool
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What a route gives back. `raw` is written as it is, instead of all else, in pieces; the
    connection is closed after it."""

    body: bytes = b""
    status: int = 200
    content_type: str = "text/html; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)
    raw: Any = None


Route = Callable[[Request], Answer]


class Web:
    """Both servers, their routes and what they have seen."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.ca_file = self.authority.ca_file
        self.seen: list[Request] = []
        self._routes: dict[str, Route] = {}
        self._servers = [self._server(None), self._server(self._context())]

    def __enter__(self) -> Self:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def port(self) -> int:
        """Where HTTP is served."""
        return self._servers[0].server_address[1]

    @property
    def tls_port(self) -> int:
        """Where HTTPS is served."""
        return self._servers[1].server_address[1]

    def url(self, path: str = "/", *, host: str = NAMES[0], tls: bool = False) -> str:
        """The address of a path."""
        scheme, port = ("https", self.tls_port) if tls else ("http", self.port)
        return f"{scheme}://{host}:{port}{path}"

    def route(self, path: str, answer: Route) -> None:
        """Answers a path, for every method, name and server; with "/" at its end all below it."""
        self._routes[path] = answer

    def text(self, path: str, body: str, content_type: str = "text/html; charset=utf-8") -> None:
        """Answers a path with a text."""
        self.route(path, lambda _request: Answer(body.encode(), content_type=content_type))

    def policy(self, **changes: Any) -> dict[str, Any]:
        """The fields of an egress policy under which the first two names can be reached."""
        allow = [f"{name}:{self.port},{self.tls_port}" for name in NAMES[:2]]
        hosts = dict.fromkeys(NAMES, ADDRESS)
        return {"allow": allow, "hosts": hosts, "ca_file": self.ca_file, **changes}

    def answer(self, request: Request) -> Answer:
        """What a request gets."""
        self.seen.append(request)
        below = (path for path in self._routes if path.endswith("/") and len(path) > 1)
        above = next((path for path in below if request.path.startswith(path)), "")
        route = self._routes.get(request.path) or self._routes.get(above)
        return Answer(b"nothing here", status=404) if route is None else route(request)

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.authority.certificate(*NAMES, "localhost", ADDRESS))
        return context

    def _server(self, context: ssl.SSLContext | None) -> "_Server":
        return _Server(self, context)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, web: Web, context: ssl.SSLContext | None) -> None:
        self.web = web
        self.context = context
        super().__init__((ADDRESS, 0), _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        # Here, in the connection's own thread: a client that never greets holds up nobody else.
        if self.context is None:
            super().finish_request(request, client_address)
            return
        with self.context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_any(self) -> None:
        parts = urlsplit(self.path)
        request = Request(
            method=self.command,
            path=parts.path,
            query=parts.query,
            host=self.headers.get("Host", ""),
            tls=self.server.context is not None,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(int(self.headers.get("Content-Length") or 0)),
        )
        answer = self.server.web.answer(request)
        if answer.raw is not None:
            self.close_connection = True
            for piece in answer.raw:
                self.wfile.write(piece)
                self.wfile.flush()
            return
        self.send_response(answer.status)
        sized = {"Content-Type": answer.content_type, "Content-Length": str(len(answer.body))}
        for name, value in {**sized, **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_any

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: `Web.seen` tells."""
