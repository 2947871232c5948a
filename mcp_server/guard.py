"""Who may speak to an HTTP server on this machine: Host and Origin, checked on every route.

A web page can make a browser send requests to loopback. The Host header betrays DNS rebinding,
the Origin header betrays the page; a request with a wrong one is refused before it is read.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")
LOOPBACK_ADDRESSES = ("127.0.0.1", "localhost", "::1")


class HostGuard:
    """ASGI middleware: 421 for a Host and 403 for an Origin that is not allowed.

    An allowed host is `name` (any port) or `name:port`. An Origin is allowed where its host is.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Iterable[str]) -> None:
        self._app = app
        self._allowed = frozenset(host.lower() for host in allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on, or refuses."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        # RFC 9110: white space around a value is not part of it. The parser leaves some.
        headers = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        scope = {**scope, "headers": headers}
        refusal = self._refusal(scope) if scope["type"] == "http" else "only HTTP is served"
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            status = 403 if "Origin" in refusal else 421
            await PlainTextResponse(refusal, status)(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        hosts = _values(scope, b"host")
        if len(hosts) != 1 or not self._allows(hosts[0]):
            return "Host is not allowed; see --allowed-host"
        if not all(self._allows_origin(origin) for origin in _values(scope, b"origin")):
            return "Origin is not allowed; see --allowed-host"
        return None

    def _allows(self, authority: str) -> bool:
        authority = authority.lower()
        return authority in self._allowed or _without_port(authority) in self._allowed

    def _allows_origin(self, origin: str) -> bool:
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        plain = origin.lower() == f"{parts.scheme}://{parts.netloc}".lower()
        return plain and parts.scheme in ("http", "https") and self._allows(parts.netloc)


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _without_port(authority: str) -> str:
    host, separator, port = authority.rpartition(":")
    if not separator or not port.isascii() or not port.isdigit():
        return authority
    return host
