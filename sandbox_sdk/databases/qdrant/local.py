"""The embedded engine: qdrant-client's local mode in memory, over a file that holds everything.

Each collection is read into the engine on its first use; a change goes into the file and the
engine, or into neither. The file is locked: one worker has it at a time. Nothing here interrupts a
search, which is one step of the engine: the deadline is looked at between steps, and the host
kills a worker that does not answer. What was committed is in the file by then.

Loads numpy and gRPC. May be imported before a fork if OPENBLAS_NUM_THREADS is 1: otherwise numpy
starts threads while it is imported.
"""

import fcntl
import os
import sqlite3
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qdrant_client import QdrantClient, models

from sandbox_sdk.databases.worker.driver import Call
from tool_plugins.errors import ErrorCode, ToolError

from .filters import Filter
from .points import DISTANCES, Layout, Point, PointId
from .storage import Storage
from .store import Query, Store

PAGE_POINTS = 256
LOCK_INTERVAL_S = 0.02
MAX_DEAD_POINTS = 10_000
"""The engine keeps the place of a deleted point; beyond this a collection is read anew."""


class LocalStore(Store):
    """The copy of one sandbox, in its own file."""

    enforces = False

    def __init__(self, file: Path, *, size_mb: int) -> None:
        """Opens nothing yet: a worker may be made before the last one has let go."""
        self._file = file
        self._size_mb = size_mb
        self._lock = threading.Lock()
        self._lock_file: int | None = None
        self._storage: Storage | None = None
        self._engine: QdrantClient | None = None
        self._read: dict[str, int | None] = {}
        """Of each collection in the engine: up to which row it was read; None: completely."""
        self._dead: dict[str, int] = {}

    def layout(self, call: Call, name: str) -> Layout:
        """See `Store.layout`."""
        with self._open(call) as (storage, _):
            return _layout(storage, name)

    def count(self, call: Call, name: str) -> int:
        """See `Store.count`."""
        with self._open(call) as (storage, _):
            return storage.count(name)

    def search(self, call: Call, name: str, query: Query) -> list[dict[str, Any]]:
        """See `Store.search`."""
        with self._open(call) as (storage, engine):
            self._load(call, storage, engine, name)
            if query.near is not None and not _present(engine, name, [query.near]):
                raise ToolError(
                    ErrorCode.NOT_FOUND, f"there is no point {query.near} in collection {name!r}"
                )
            with self._engine_errors(name):
                found = engine.query_points(
                    name,
                    query=query.near if query.vector is None else query.vector.tolist(),
                    using=query.vector_name or None,
                    query_filter=query.filter.model if query.filter else None,
                    limit=query.limit,
                    offset=query.offset,
                    score_threshold=query.score_threshold,
                    with_vectors=query.with_vector,
                )
            call.check()
            return [_hit(each, with_vector=query.with_vector) for each in found.points]

    def upsert(self, call: Call, name: str, points: list[Point]) -> None:
        """See `Store.upsert`."""
        with self._open(call) as (storage, engine):
            self._load(call, storage, engine, name)
            call.check()
            with self._both(storage, name):
                storage.replace(name, points)
                _put(engine, name, points)

    def delete(self, call: Call, name: str, chosen: list[PointId] | Filter) -> int:
        """See `Store.delete`."""
        with self._open(call) as (storage, engine):
            self._load(call, storage, engine, name)
            if isinstance(chosen, Filter):
                with self._engine_errors(name):
                    ids = _matching(engine, name, chosen, storage.count(name))
            else:
                ids = _present(engine, name, chosen)
            call.check()
            if ids:
                with self._both(storage, name):
                    storage.delete(name, ids)
                    engine.delete(name, models.PointIdsList(points=list(ids)))
                self._dead[name] = self._dead.get(name, 0) + len(ids)
                if self._dead[name] > max(MAX_DEAD_POINTS, storage.count(name)):
                    self._forget(name)
            return len(ids)

    def close(self) -> None:
        """See `Store.close`. Waits for the call that runs."""
        with self._lock:
            if self._engine is not None:
                self._engine.close()
                self._engine = None
            if self._storage is not None:
                self._storage.close()
                self._storage = None
            if self._lock_file is not None:
                os.close(self._lock_file)
                self._lock_file = None
            self._read.clear()

    @contextmanager
    def _open(self, call: Call) -> Iterator[tuple[Storage, QdrantClient]]:
        """The file and the engine, for this call alone."""
        if not self._lock.acquire(timeout=max(0.0, call.remaining_s)):
            raise call.timeout()
        try:
            call.check()
            if self._storage is None or self._engine is None:
                self._storage, self._engine = self._start(call)
            yield self._storage, self._engine
        except MemoryError:
            for name in list(self._read):
                self._forget(name)
            raise _too_large() from None
        except sqlite3.Error as exc:
            raise _file_error(exc) from exc
        finally:
            self._lock.release()

    def _start(self, call: Call) -> tuple[Storage, QdrantClient]:
        lock_file = os.open(
            self._file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        storage = None
        try:
            _lock(lock_file, call)
            storage = Storage(self._file, size_mb=self._size_mb)
            # The provisioner has told a person that a server would suit this many points better.
            warnings.filterwarnings(
                "ignore", "Local mode is not recommended for collections", UserWarning
            )
            engine = QdrantClient(":memory:")
        except BaseException as exc:
            if storage is not None:
                storage.close()
            os.close(lock_file)
            if isinstance(exc, FileNotFoundError | ValueError):
                raise ToolError(
                    ErrorCode.DATABASE_UNAVAILABLE,
                    f"the database's file cannot be used: {exc}",
                    details={"sent": False},
                ) from exc
            raise
        self._lock_file = lock_file
        return storage, engine

    def _load(self, call: Call, storage: Storage, engine: QdrantClient, name: str) -> None:
        """Reads a collection into the engine. What a call has no time left for, the next does."""
        layout = _layout(storage, name)
        if name not in self._read:
            engine.create_collection(name, vectors_config=_vectors(layout))
            self._read[name] = 0
        while (after := self._read[name]) is not None:
            call.check()
            points, last = storage.page(name, after=after, size=PAGE_POINTS)
            try:
                if points:
                    _put(engine, name, points)
            except BaseException:
                self._forget(name)
                raise
            self._read[name] = last if points else None

    @contextmanager
    def _both(self, storage: Storage, name: str) -> Iterator[None]:
        """What the block does to file and engine takes effect in both, or in neither."""
        try:
            with self._engine_errors(name), storage.transaction():
                yield
        except BaseException:
            self._forget(name)
            raise

    def _forget(self, name: str) -> None:
        """Has a collection read from the file again when it is used next."""
        self._dead.pop(name, None)
        self._read.pop(name, None)
        if self._engine is not None and self._engine.collection_exists(name):
            self._engine.delete_collection(name)

    @contextmanager
    def _engine_errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except (ValueError, TypeError, OverflowError, RecursionError) as exc:
            raise ToolError(ErrorCode.QUERY_ERROR, f"qdrant refused, in {name!r}: {exc}") from exc


def _lock(descriptor: int, call: Call) -> None:
    """Waits until the last worker, which may be about to be killed, has let go."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if call.cancelled or call.remaining_s <= LOCK_INTERVAL_S:
                raise ToolError(
                    ErrorCode.BUSY, "another worker still has this database open", hint="try again"
                ) from None
            time.sleep(LOCK_INTERVAL_S)


def _layout(storage: Storage, name: str) -> Layout:
    if name not in storage.layouts:
        raise ToolError(ErrorCode.NOT_FOUND, f"collection {name!r} is gone")
    return storage.layouts[name]


def _vectors(layout: Layout) -> models.VectorParams | dict[str, models.VectorParams]:
    params = {
        name: models.VectorParams(size=size, distance=models.Distance(DISTANCES[distance]))
        for name, (size, distance) in layout.vectors.items()
    }
    return params.get("", params)


def _put(engine: QdrantClient, name: str, points: list[Point]) -> None:
    engine.upsert(
        name,
        [
            # Checked already; qdrant's own model would look at each number once more.
            models.PointStruct.model_construct(
                id=point.id, vector=point.vector(), payload=point.payload
            )
            for point in points
        ],
    )


def _present(engine: QdrantClient, name: str, ids: list[PointId]) -> list[PointId]:
    found = engine.retrieve(name, ids, with_payload=False, with_vectors=False)
    return [_identity(each.id) for each in found]


def _matching(engine: QdrantClient, name: str, chosen: Filter, most: int) -> list[PointId]:
    found, _ = engine.scroll(
        name, scroll_filter=chosen.model, limit=max(1, most), with_payload=False
    )
    return [_identity(each.id) for each in found]


def _hit(found: models.ScoredPoint, *, with_vector: bool) -> dict[str, Any]:
    hit: dict[str, Any] = {
        "id": _identity(found.id),
        "score": found.score,
        "payload": found.payload or {},
    }
    if with_vector:
        hit["vector"] = found.vector
    return hit


def _identity(given: Any) -> PointId:
    return given if isinstance(given, int) else str(given)


def _file_error(error: sqlite3.Error) -> ToolError:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return ToolError(
            ErrorCode.DISK_QUOTA,
            "the database is as large as it may become; nothing was written",
            hint="delete points that are not needed",
        )
    return ToolError(
        ErrorCode.DATABASE_UNAVAILABLE,
        f"the database's file cannot be used: {error}",
        details={"sent": True},
    )


def _too_large() -> ToolError:
    return ToolError(
        ErrorCode.TOO_LARGE,
        "the collection does not fit into the worker's memory",
        hint="an operator can put it on a qdrant server",
    )
