"""A Qdrant server, with the token of one sandbox. The server refuses what the token does not open;
its words reach the model, with the names the model uses."""

import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sandbox_sdk.databases.worker.driver import Call
from tool_plugins.errors import ErrorCode, ToolError

from .filters import Filter
from .points import Layout, Point, PointId
from .rest import Exhausted, Oversized, Refused, RestClient, Server, Slow, Unreachable
from .store import Query, Store

_CODES: Mapping[int, ErrorCode] = {
    401: ErrorCode.PERMISSION_DENIED,
    403: ErrorCode.PERMISSION_DENIED,
    404: ErrorCode.NOT_FOUND,
    413: ErrorCode.TOO_LARGE,
    429: ErrorCode.BUSY,
    507: ErrorCode.QUOTA_EXCEEDED,
}
_DOWN = (502, 503, 504)
_COPY_PREFIX = re.compile(r"sbx-[a-z2-7]{26}__[a-z0-9_]+?__")


class RemoteStore(Store):
    """Collections on a server, under names that begin with `prefix` there."""

    def __init__(
        self, server: Server, *, prefix: str, expires: float | None, enforces: bool
    ) -> None:
        """Connects later. `expires` is when the token ends, as a time since the epoch.

        Raises:
            ToolError: DATABASE_UNAVAILABLE, `ca_file` cannot be used.
        """
        self.enforces = enforces
        self._prefix = prefix
        self._expires = expires
        try:
            self._client = RestClient(server)
        except OSError as exc:
            raise _unavailable(f"the connection cannot be verified: {exc}", sent=False) from exc

    def layout(self, call: Call, name: str) -> Layout:
        """See `Store.layout`."""
        info = self._request(call, "GET", name)
        params = info["config"]["params"].get("vectors") or {}
        named = {"": params} if "size" in params and "distance" in params else params
        vectors = {
            each: (int(given["size"]), str(given["distance"]).lower())
            for each, given in named.items()
            if not given.get("multivector_config")
        }
        schema = info.get("payload_schema") or {}
        return Layout(vectors, {field: str(each["data_type"]) for field, each in schema.items()})

    def count(self, call: Call, name: str) -> int:
        """See `Store.count`."""
        return self._count(call, name, None)

    def search(self, call: Call, name: str, query: Query) -> list[dict[str, Any]]:
        """See `Store.search`."""
        body: dict[str, Any] = {
            "query": query.near if query.vector is None else query.vector.tolist(),
            "limit": query.limit,
            "offset": query.offset,
            "with_payload": True,
            "with_vector": query.with_vector,
        }
        if query.vector_name:
            body["using"] = query.vector_name
        if query.filter is not None:
            body["filter"] = query.filter.as_json()
        if query.score_threshold is not None:
            body["score_threshold"] = query.score_threshold
        found = self._request(call, "POST", name, "points", "query", body=body)
        return [_hit(each, with_vector=query.with_vector) for each in found["points"]]

    def upsert(self, call: Call, name: str, points: list[Point]) -> None:
        """See `Store.upsert`."""
        body = {"points": [each.as_json() for each in points]}
        self._request(call, "PUT", name, "points", body=body, wait=True)

    def delete(self, call: Call, name: str, chosen: list[PointId] | Filter) -> int:
        """See `Store.delete`. Counted just before: the server does not say."""
        if isinstance(chosen, Filter):
            selected = chosen.as_json()
            body: dict[str, Any] = {"filter": selected}
        else:
            selected = {"must": [{"has_id": chosen}]}
            body = {"points": chosen}
        there = self._count(call, name, selected)
        self._request(call, "POST", name, "points", "delete", body=body, wait=True)
        return there

    def close(self) -> None:
        """See `Store.close`."""
        self._client.close()

    def _count(self, call: Call, name: str, chosen: dict[str, Any] | None) -> int:
        body: dict[str, Any] = {"exact": True}
        if chosen is not None:
            body["filter"] = chosen
        return int(self._request(call, "POST", name, "points", "count", body=body)["count"])

    def _request(
        self,
        call: Call,
        method: str,
        name: str,
        *path: str,
        body: dict[str, Any] | None = None,
        wait: bool = False,
    ) -> Any:
        call.check()
        if self._expires is not None and time.time() >= self._expires:
            raise _unavailable("the sandbox's token has ended", sent=False, expired=True)
        if name in ("", ".", ".."):
            raise ToolError(ErrorCode.PERMISSION_DENIED, f"there is no collection {name!r}")
        query: dict[str, Any] = {"timeout": max(1, math.ceil(call.remaining_s))}
        if wait:
            query["wait"] = "true"
        with self._translated(call):
            return self._client.request(
                method,
                "collections",
                self._prefix + name,
                *path,
                body=body,
                query=query,
                timeout_s=call.remaining_s,
                cancelling=call.cancelling,
            )

    @contextmanager
    def _translated(self, call: Call) -> Iterator[None]:
        """The errors of a request as those of a driver."""
        try:
            yield
        except Refused as exc:
            raise self._refused(call, exc) from exc
        except Slow as exc:
            raise call.timeout() from exc
        except Unreachable as exc:
            if call.cancelled:
                raise call.timeout() from exc
            raise _unavailable(str(exc), sent=exc.sent) from exc
        except Exhausted as exc:
            raise ToolError(ErrorCode.BUSY, str(exc), hint="fewer calls at once") from exc
        except (Oversized, MemoryError) as exc:
            raise ToolError(
                ErrorCode.TOO_LARGE, "the answer is too large", hint="lower limit"
            ) from exc

    def _refused(self, call: Call, refused: Refused) -> ToolError:
        if refused.status == 408:
            return call.timeout()
        words = _COPY_PREFIX.sub("", refused.words)
        if refused.status in _DOWN:
            return _unavailable(f"qdrant is not ready: {words}", sent=True)
        code = _CODES.get(refused.status, ErrorCode.QUERY_ERROR)
        return ToolError(code, f"qdrant refused: {words}", details={"status": refused.status})


def _hit(found: dict[str, Any], *, with_vector: bool) -> dict[str, Any]:
    hit = {"id": found["id"], "score": found["score"], "payload": found.get("payload") or {}}
    return hit | {"vector": found.get("vector")} if with_vector else hit


def _unavailable(message: str, *, sent: bool, expired: bool = False) -> ToolError:
    details: dict[str, Any] = {"sent": sent} | ({"expired": True} if expired else {})
    return ToolError(ErrorCode.DATABASE_UNAVAILABLE, message, hint="try again", details=details)
