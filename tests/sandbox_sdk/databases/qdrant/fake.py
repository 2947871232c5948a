"""A server that speaks as much of Qdrant's REST as the SDK uses, with the rules of its tokens.

For faults a real server cannot be made to have, and for the requests themselves where no server is
at hand: what tests show on it they show on a real one too, when QDRANT_URL is set. The rules and
the words of refusals are those of Qdrant 1.19 (`lib/storage/src/rbac`, `src/common/auth`).
"""

import json
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import jwt
from qdrant_client import QdrantClient, models

KEY = "the-operators-own-key-of-32-bytes-or-more"


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    key: str | None
    body: Any


class Refusal(Exception):
    """An answer other than 200; `text` is sent as it is, where the middleware speaks."""

    def __init__(self, status: int, words: str, *, text: bool = False) -> None:
        super().__init__(words)
        self.status = status
        self.words = words
        self.text = text


class FakeQdrant:
    """Listens on a port of its own until `close`. `fault` may act before a request is answered."""

    def __init__(
        self,
        *,
        key: str | None = KEY,
        jwt_rbac: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.key = key
        self.jwt_rbac = jwt_rbac
        self.asked: list[Asked] = []
        self.connections = 0
        self.fault: Callable[[Asked, BaseHTTPRequestHandler], None] | None = None
        self.engine = QdrantClient(":memory:")
        self.indexes: dict[str, dict[str, str]] = {}
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._scheme = "https" if tls is not None else "http"
        # Asked for often: `close` waits for the loop to look.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    def names(self) -> set[str]:
        return {each.name for each in self.engine.get_collections().collections}

    def close(self) -> None:
        self._server.shutdown()
        for each in list(self._server.open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join()
        self.engine.close()

    def answer(self, asked: Asked) -> Any:
        access = self._authenticate(asked.key)
        parts = [unquote(each) for each in urlsplit(asked.path).path.strip("/").split("/")]
        with self.lock:
            match asked.method, parts:
                case "GET", ["collections"]:
                    seen = (name for name in self.names() if access is None or name in access)
                    return {"collections": [{"name": name} for name in sorted(seen)]}
                case "PUT" | "DELETE", ["collections", name]:
                    if access is not None:
                        raise Refusal(403, "Global access is required")
                    return self._manage(asked, name)
                case method, ["collections", name, *rest]:
                    self._authorise(access, name, write=_writes(method, rest))
                    if name not in self.names():
                        raise Refusal(404, f"Not found: Collection `{name}` doesn't exist!")
                    return self._collection(asked, name, rest)
        raise Refusal(404, "")

    def _authenticate(self, key: str | None) -> dict[str, str] | None:
        """The token's collections; None for the whole server."""
        if self.key is None or key == self.key:
            return None
        if key is None:
            words = "Must provide an API key or an Authorization bearer token"
            raise Refusal(401, words, text=True)
        if not self.jwt_rbac:
            raise Refusal(401, "Invalid API key or JWT", text=True)
        try:
            claims = jwt.decode(key, self.key, algorithms=["HS256"])
        except jwt.ExpiredSignatureError:
            raise Refusal(403, "ExpiredSignature", text=True) from None
        except jwt.InvalidSignatureError:
            raise Refusal(403, "InvalidSignature", text=True) from None
        except jwt.DecodeError:
            raise Refusal(401, "Invalid API key or JWT", text=True) from None
        if "access" not in claims:
            return None
        return {each["collection"]: each["access"] for each in claims["access"]}

    def _authorise(self, access: dict[str, str] | None, name: str, *, write: bool) -> None:
        if access is None:
            return
        if name not in access:
            raise Refusal(403, f"Forbidden: Access to collection {name} is required")
        if write and access[name] == "r":
            raise Refusal(403, f"Forbidden: Write access to collection {name} is required")

    def _manage(self, asked: Asked, name: str) -> Any:
        if asked.method == "DELETE":
            self.indexes.pop(name, None)
            return self.engine.delete_collection(name)
        given = asked.body["vectors"]
        vectors = (
            models.VectorParams(**given)
            if "size" in given
            else {each: models.VectorParams(**params) for each, params in given.items()}
        )
        self.indexes[name] = {}
        return self.engine.create_collection(name, vectors_config=vectors)

    def _collection(self, asked: Asked, name: str, rest: list[str]) -> Any:
        body = asked.body or {}
        chosen = models.Filter(**body["filter"]) if body.get("filter") else None
        match asked.method, rest:
            case "GET", []:
                info = self.engine.get_collection(name).model_dump(mode="json")
                fields = self.indexes[name].items()
                return info | {"payload_schema": {f: {"data_type": kind} for f, kind in fields}}
            case "PUT", ["index"]:
                self.indexes[name][body["field_name"]] = body["field_schema"]
                return {}
            case "PUT", ["points"]:
                points = [models.PointStruct(**each) for each in body["points"]]
                self.engine.upsert(name, points)
                return {"status": "completed"}
            case "POST", ["points", "count"]:
                return {"count": self.engine.count(name, chosen).count}
            case "POST", ["points", "delete"]:
                self.engine.delete(name, body.get("points") or models.FilterSelector(filter=chosen))
                return {"status": "completed"}
            case "POST", ["points", "query"]:
                return self._query(name, body, chosen)
        raise Refusal(404, "")

    def _query(self, name: str, body: dict[str, Any], chosen: models.Filter | None) -> Any:
        near = body["query"]
        if not isinstance(near, list) and not self.engine.retrieve(name, [near]):
            raise Refusal(404, f"Not found: No point with id {near} found")
        found = self.engine.query_points(
            name,
            query=near,
            using=body.get("using"),
            query_filter=chosen,
            limit=body["limit"],
            offset=body["offset"],
            score_threshold=body.get("score_threshold"),
            with_vectors=body["with_vector"],
        )
        return {"points": [each.model_dump(mode="json") for each in found.points]}


def _writes(method: str, rest: list[str]) -> bool:
    return method == "PUT" or rest[-1:] == ["delete"]


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    fake: FakeQdrant

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections break here on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.fake.connections += 1

    def _serve(self) -> None:
        fake = self.server.fake
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(data) if data else None
        asked = Asked(self.command, self.path, self.headers.get("api-key"), body)
        fake.asked.append(asked)
        try:
            if fake.fault is not None:
                fake.fault(asked, self)
            status, answer = 200, json.dumps({"result": fake.answer(asked), "status": "ok"})
        except Refusal as exc:
            status = exc.status
            answer = exc.words if exc.text else json.dumps({"status": {"error": exc.words}})
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer.encode())))
        self.end_headers()
        self.wfile.write(answer.encode())

    do_GET = do_PUT = do_POST = do_DELETE = _serve

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""
