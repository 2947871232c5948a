"""Qdrant for the worker: three typed operations on named collections, as one sandbox.

On a server the sandbox's token decides, and its refusal is what the model reads. The embedded
engine knows no users: there this driver is the one who refuses. It can do so without a parser,
because the interface is closed: a call names one collection, and nothing in vectors, ids, filters
or payloads can name another (`lookup_from`, prefetches, aliases and snapshots are not reachable).
A collection that is not there and one that is not allowed look the same.

Importing this loads qdrant's client, with numpy and gRPC; see `local` for what that means before a
fork.
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from sandbox_sdk.databases.worker.driver import Call, VectorDriver
from tool_plugins.errors import ErrorCode, ToolError

from .filters import Filter
from .local import LocalStore
from .points import BadPoint, Layout, point, point_id, vector
from .remote import RemoteStore
from .rest import Server
from .store import Query, Store

VERBS = {"read": ["select"], "write": ["select", "insert", "update", "delete"]}


class QdrantDriver(VectorDriver):
    """The collections of one sandbox. Thread-safe."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """`settings` are those of a `Copy` that `QdrantProvisioner.create` made."""
        self._granted: dict[str, str] = settings["collections"]
        self._store: Store = _store(settings)

    def search(self, call: Call, arguments: dict[str, Any]) -> dict[str, Any]:
        """See `VectorDriver.search`. Long texts in payloads are clipped at `cell_chars`, marked
        and counted; `truncated` is set if `limit` was above the cap on rows and there is more."""
        name: str = arguments["collection"]
        self._allow(name, write=False)
        chosen = _filter(arguments.get("filter"))
        query = _query(arguments, self._store.layout(call, name), chosen, call.caps.rows)
        found = self._store.search(call, name, query)
        limit: int = arguments.get("limit", 10)
        wanted = min(limit, call.caps.rows)
        clipping = _Clipping(call.caps.cell_chars)
        hits = [each | {"payload": clipping.clip(each["payload"])} for each in found[:wanted]]
        if hits and len(json.dumps(hits[0])) > call.caps.bytes:
            raise ToolError(
                ErrorCode.TOO_LARGE,
                f"the nearest point alone has more than the {call.caps.bytes:,} bytes that an "
                "answer may have",
                hint="leave with_vector out",
            )
        return {
            "hits": hits,
            "truncated": len(found) > wanted,
            "truncated_by": "rows" if len(found) > wanted else None,
            "clipped_cells": clipping.clipped,
        }

    def upsert(self, call: Call, arguments: dict[str, Any]) -> dict[str, Any]:
        """See `VectorDriver.upsert`. All points are checked before one is written."""
        name: str = arguments["collection"]
        self._allow(name, write=True)
        layout = self._store.layout(call, name)
        with _as_argument():
            points = [
                point(each, layout, f"points[{index}].")
                for index, each in enumerate(arguments["points"])
            ]
        # Of points with the same id the last one counts, as in the engine.
        distinct = {each.id: each for each in points}
        self._store.upsert(call, name, list(distinct.values()))
        return self._changed(call, name, len(distinct))

    def delete(self, call: Call, arguments: dict[str, Any]) -> dict[str, Any]:
        """See `VectorDriver.delete`. A filter without a condition would delete everything."""
        name: str = arguments["collection"]
        self._allow(name, write=True)
        ids, given = arguments.get("ids"), arguments.get("filter")
        if ids is not None and given is None:
            with _as_argument():
                chosen = [point_id(each, f"ids[{index}]") for index, each in enumerate(ids)]
            if not chosen:
                raise _bad("ids is empty")
            return self._changed(call, name, self._store.delete(call, name, chosen))
        if given is None or ids is not None:
            raise _bad("give exactly one of ids and filter")
        by = Filter(given)
        if not by.conditions:
            raise _bad("filter has no condition: it would delete every point")
        return self._changed(call, name, self._store.delete(call, name, by))

    def schema(self, call: Call, *, pattern: str, detail: str, limit: int) -> dict[str, Any]:
        """See `VectorDriver.schema`. The columns of a collection are its payload indexes."""
        names = sorted(name for name in self._granted if fnmatchcase(name, pattern))
        items = [self._item(call, name, detail) for name in names[:limit]]
        return {"items": items, "total": len(names), "truncated": len(names) > limit}

    def close(self) -> None:
        """See `VectorDriver.close`."""
        self._store.close()

    def _allow(self, name: str, *, write: bool) -> None:
        """Lets pass what is granted. Where the engine enforces, it is asked about the rest."""
        granted = self._granted.get(name)
        if self._store.enforces or granted == "write" or (granted == "read" and not write):
            return
        if granted is None:
            there = ", ".join(sorted(self._granted)) or "none"
            raise ToolError(
                ErrorCode.PERMISSION_DENIED,
                f"there is no collection {name!r} that this sandbox may use",
                hint=f"collections: {there}",
            )
        writable = sorted(each for each, right in self._granted.items() if right == "write")
        raise ToolError(
            ErrorCode.PERMISSION_DENIED,
            f"collection {name!r} may be read, not written",
            hint=f"collections that may be written: {', '.join(writable) or 'none'}",
        )

    def _changed(self, call: Call, name: str, changed: int) -> dict[str, Any]:
        return {"collection": name, "changed": changed, "count": self._store.count(call, name)}

    def _item(self, call: Call, name: str, detail: str) -> dict[str, Any]:
        item: dict[str, Any] = {
            "name": name,
            "kind": "collection",
            "verbs": VERBS[self._granted[name]],
        }
        if detail == "names":
            return item
        layout = self._store.layout(call, name)
        indexes = sorted(layout.indexes.items())
        item["vectors"] = {
            each: f"{size} {distance}" for each, (size, distance) in layout.vectors.items()
        }
        item["columns"] = [{"name": field, "type": kind} for field, kind in indexes]
        if detail == "full":
            item["indexes"] = [{"name": field, "columns": [field]} for field, _ in indexes]
            item["row_estimate"] = self._store.count(call, name)
        return item


class _Clipping:
    """Shortens long texts in payloads."""

    def __init__(self, chars: int) -> None:
        self._chars = chars
        self.clipped = 0

    def clip(self, value: Any) -> Any:
        if isinstance(value, str) and len(value) > self._chars:
            self.clipped += 1
            return f"{value[: self._chars]}… ({len(value)} characters)"
        if isinstance(value, dict):
            return {name: self.clip(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self.clip(each) for each in value]
        return value


@contextmanager
def _as_argument() -> Iterator[None]:
    """Says `BadPoint` to the model."""
    try:
        yield
    except BadPoint as exc:
        raise _bad(str(exc)) from None


def _store(settings: dict[str, Any]) -> Store:
    if "file" in settings:
        return LocalStore(Path(settings["file"]), size_mb=settings["size_mb"])
    token: str | None = settings["token"]
    return RemoteStore(
        Server(key=token, **settings["server"]),
        prefix=settings["prefix"],
        expires=settings["expires"],
        enforces=token is not None,
    )


def _filter(given: Any) -> Filter | None:
    return None if given is None else Filter(given)


def _query(arguments: dict[str, Any], layout: Layout, chosen: Filter | None, most: int) -> Query:
    name = _vector_name(arguments.get("vector_name"), layout)
    given, near = arguments.get("vector"), arguments.get("point_id")
    if (given is None) == (near is None):
        raise _bad("give exactly one of vector and point_id")
    threshold = arguments.get("score_threshold")
    if threshold is not None and not math.isfinite(threshold):
        raise _bad("score_threshold is not a finite number")
    limit: int = arguments.get("limit", 10)
    with _as_argument():
        return Query(
            vector=None if given is None else vector(given, layout.vectors[name][0]),
            near=None if near is None else point_id(near, "point_id"),
            vector_name=name,
            filter=chosen,
            # One more than the cap on rows lets through tells whether there is more.
            limit=limit if limit <= most else most + 1,
            offset=arguments.get("offset", 0),
            score_threshold=threshold,
            with_vector=arguments.get("with_vector", False),
        )


def _vector_name(given: str | None, layout: Layout) -> str:
    """The vector to search by; it need not be named where there is only one."""
    if given is not None and given in layout.vectors:
        return given
    if given is None and len(layout.vectors) == 1:
        return next(iter(layout.vectors))
    names = ", ".join(each or "one without a name" for each in layout.vectors) or "none"
    problem = "vector_name is missing" if given is None else f"there is no vector {given!r}"
    raise _bad(f"{problem}; the collection's vectors: {names}")


def _bad(message: str) -> ToolError:
    return ToolError(ErrorCode.INVALID_ARGUMENT, message)
