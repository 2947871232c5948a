"""The operator's side of a Qdrant server: makes, fills, lists and drops collections.

A sandbox's collections are named `<sandbox id>__<database>__<collection>`: one flat list is all a
server has. So that no name can be read in two ways, `rules` refuses databases whose name holds two
underscores in a row or ends in one; so that no collection of somebody else is ever taken for a
copy, only ids as the SDK makes them count. A server takes names of at most 255 bytes.
Blocking: the provisioner calls it in threads.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from tool_plugins.errors import ConfigurationError, EngineError

from .points import DISTANCES, Layout
from .rest import Exhausted, Oversized, Refused, RestClient, Server, Slow, Unreachable
from .storage import Storage
from .tokens import sign

REQUEST_TIMEOUT_S = 60.0
BATCH_POINTS = 256
BATCH_NUMBERS = 500_000
"""Numbers in the vectors of one batch: some 8 MB of JSON; a server takes 32 by default."""
PROBE = "sandbox-sdk-probe"
_COPY = re.compile(r"(sbx-[a-z2-7]{26})__([a-z0-9]+(?:_[a-z0-9]+)*)__.+", re.DOTALL)


def full_name(sandbox_id: str, database: str, collection: str) -> str:
    """The name of a copy's collection on the server."""
    return f"{sandbox_id}__{database}__{collection}"


class Stopped(Exception):
    """Nobody waits for the seeding any more; what it made is gone again."""


class QdrantServer:
    """A server with the operator's key."""

    def __init__(self, server: Server) -> None:
        """Raises ConfigurationError: `ca_file` cannot be used."""
        self._server = server
        self._client = _client(server)

    def collections(self) -> list[str]:
        """The names of all collections.

        Raises:
            ConfigurationError: the server refuses the key.
            EngineError: it cannot be reached.
        """
        found = self._request("GET", "collections")
        return [each["name"] for each in found["collections"]]

    def holds_tokens(self) -> bool:
        """Whether the server lets a token do what it says, and nothing else (`jwt_rbac`).

        Raises:
            EngineError: it cannot be reached.
        """
        if self._server.key is None:
            return False
        token, _ = sign({PROBE: "write"}, key=self._server.key, subject=PROBE)
        client = _client(replace(self._server, key=token))
        try:
            # Nobody has either collection: 404 is leave to look, 403 is none.
            seen = [_status(client, name) for name in (PROBE, f"{PROBE}-2")]
        finally:
            client.close()
        return seen == [404, 403]

    def is_open(self) -> bool:
        """Whether the server asks for no key at all."""
        client = _client(replace(self._server, key=None))
        try:
            return _status(client, PROBE) == 404
        finally:
            client.close()

    def seed(self, prefix: str, template: Storage, stop: threading.Event) -> None:
        """Makes the template's collections under names with this prefix, and fills them.

        What an interrupted attempt has left there is dropped first. On failure nothing is left.

        Raises:
            Stopped: `stop` was set meanwhile.
            EngineError: the server failed or cannot be reached.
        """
        self.drop(prefix)
        try:
            for name, layout in template.layouts.items():
                self._create(prefix + name, layout)
                for batch in _batches(template, name):
                    if stop.is_set():
                        raise Stopped
                    self._request(
                        "PUT", "collections", prefix + name, "points",
                        body={"points": batch}, query={"wait": "true"},
                    )  # fmt: skip
        except BaseException:
            with suppress(ConfigurationError, EngineError):
                self.drop(prefix)
            raise

    def drop(self, prefix: str) -> None:
        """Deletes every collection whose name begins so."""
        for name in self.collections():
            if name.startswith(prefix):
                self._request("DELETE", "collections", name)

    def sandboxes(self, database: str) -> set[str]:
        """The ids of the sandboxes that have collections of this database."""
        found = (_COPY.fullmatch(name) for name in self.collections())
        return {each[1] for each in found if each and each[2] == database}

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _create(self, name: str, layout: Layout) -> None:
        vectors = {
            vector: {"size": size, "distance": DISTANCES[distance]}
            for vector, (size, distance) in layout.vectors.items()
        }
        body = {"vectors": vectors.get("", vectors)}
        self._request("PUT", "collections", name, body=body)
        for field, kind in layout.indexes.items():
            self._request(
                "PUT", "collections", name, "index",
                body={"field_name": field, "field_schema": kind}, query={"wait": "true"},
            )  # fmt: skip

    def _request(self, method: str, *path: str, **options: Any) -> Any:
        with _translated():
            return self._client.request(method, *path, timeout_s=REQUEST_TIMEOUT_S, **options)


def _client(server: Server) -> RestClient:
    try:
        return RestClient(server)
    except OSError as exc:
        raise ConfigurationError(f"the ca_file of qdrant cannot be used: {exc}") from None


def _status(client: RestClient, collection: str) -> int:
    with _translated():
        try:
            client.request("GET", "collections", collection, timeout_s=REQUEST_TIMEOUT_S)
        except Refused as exc:
            return exc.status
    return 200


def _batches(template: Storage, collection: str) -> Iterator[list[dict[str, Any]]]:
    numbers = sum(size for size, _ in template.layouts[collection].vectors.values())
    size = max(1, min(BATCH_POINTS, BATCH_NUMBERS // numbers))
    batch, after = template.page(collection, size=size)
    while batch:
        yield [point.as_json() for point in batch]
        batch, after = template.page(collection, after=after, size=size)


@contextmanager
def _translated() -> Iterator[None]:
    """The errors of requests as those of the project."""
    try:
        yield
    except Refused as exc:
        if exc.status in (401, 403):
            raise ConfigurationError(
                f"qdrant refuses the operator's api_key: {exc.words}",
                hint="it must be the server's api_key, not the one that only reads",
            ) from exc
        raise EngineError(f"qdrant refused: {exc.words}") from exc
    except Slow as exc:
        raise EngineError(f"qdrant did not answer within {REQUEST_TIMEOUT_S:g} s") from exc
    except (Unreachable, Exhausted, Oversized) as exc:
        raise EngineError(str(exc)) from exc
