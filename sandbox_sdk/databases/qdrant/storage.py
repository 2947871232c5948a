"""The file in which an embedded database lies: collections and their points, in SQLite.

    meta          the version of this layout, the digest of the population
    collections   name, vectors and payload indexes, in the population's order
    points        id, vectors (32 bit numbers, one after the other), payload (JSON)

The population's template has the same form, also for a server. The host makes the file and copies
it; the worker reads it into qdrant's engine and writes every change here first. That is why a
batch is all or nothing even when the worker is killed in it, which qdrant's own files of the local
mode (a commit and a pickle per point) do not promise. Standard library only.
"""

import json
import sqlite3
from array import array
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from .points import Layout, Point, PointId, to_text

FORMAT = "1"
_PAGE_BYTES = 4096
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE collections (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, vectors TEXT NOT NULL,
    indexes TEXT NOT NULL);
CREATE TABLE points (
    collection INTEGER NOT NULL, id TEXT NOT NULL, vectors BLOB NOT NULL, payload TEXT NOT NULL,
    PRIMARY KEY (collection, id));
"""


class Storage:
    """One open file. Used by one thread at a time, whichever it is."""

    def __init__(self, file: Path, *, size_mb: int | None = None) -> None:
        """Opens a file that `create` made; `size_mb` is how large it may become."""
        if not file.is_file():
            raise FileNotFoundError(file)
        self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._numbers: dict[str, int] = {}
        self._layouts: dict[str, Layout] = {}
        try:
            self._prepare(size_mb)
        except BaseException:
            self._connection.close()
            raise

    @staticmethod
    def create(file: Path, layouts: dict[str, Layout], *, digest: str = "") -> "Storage":
        """Makes a new file with empty collections, and opens it."""
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA page_size={_PAGE_BYTES}")
            connection.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
            rows = [
                (name, json.dumps(layout.vectors), json.dumps(layout.indexes))
                for name, layout in layouts.items()
            ]
            connection.execute("BEGIN")
            connection.executemany(
                "INSERT INTO collections (name, vectors, indexes) VALUES (?, ?, ?)", rows
            )
            connection.executemany(
                "INSERT INTO meta VALUES (?, ?)", [("format", FORMAT), ("digest", digest)]
            )
            connection.execute("COMMIT")
        return Storage(file)

    @property
    def layouts(self) -> dict[str, Layout]:
        """The collections, in order."""
        return self._layouts

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What the block writes takes effect as a whole, or not at all."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def insert(self, collection: str, point: Point) -> None:
        """Adds a point that is not there.

        Raises:
            sqlite3.IntegrityError: its id is.
        """
        self._connection.execute(
            "INSERT INTO points VALUES (?, ?, ?, ?)", self._row(collection, point)
        )

    def replace(self, collection: str, points: Iterable[Point]) -> None:
        """Adds points, or puts them in the place of those with the same id."""
        rows = (self._row(collection, point) for point in points)
        self._connection.executemany("INSERT OR REPLACE INTO points VALUES (?, ?, ?, ?)", rows)

    def delete(self, collection: str, ids: Iterable[PointId]) -> None:
        """Removes the points of these ids that are there."""
        number = self._numbers[collection]
        self._connection.executemany(
            "DELETE FROM points WHERE collection = ? AND id = ?",
            ((number, str(each)) for each in ids),
        )

    def page(self, collection: str, *, after: int = 0, size: int) -> tuple[list[Point], int]:
        """The next points in the order they came, and what to ask with for those after them."""
        layout = self._layouts[collection]
        rows = self._connection.execute(
            "SELECT rowid, id, vectors, payload FROM points "
            "WHERE collection = ? AND rowid > ? ORDER BY rowid LIMIT ?",
            (self._numbers[collection], after, size),
        ).fetchall()
        points = [
            Point(
                identity if "-" in identity else int(identity),
                _unpack(vectors, layout),
                json.loads(payload),
            )
            for _, identity, vectors, payload in rows
        ]
        return points, rows[-1][0] if rows else after

    def count(self, collection: str) -> int:
        """How many points a collection has."""
        (number,) = self._connection.execute(
            "SELECT count(*) FROM points WHERE collection = ?", (self._numbers[collection],)
        ).fetchone()
        return number

    def close(self) -> None:
        """Closes the file. Idempotent."""
        self._connection.close()

    def _prepare(self, size_mb: int | None) -> None:
        run = self._connection.execute
        if run("SELECT value FROM meta WHERE key = 'format'").fetchone() != (FORMAT,):
            raise ValueError("the file was written by another version")
        if size_mb is not None:
            run("PRAGMA journal_mode=WAL")
            run("PRAGMA synchronous=NORMAL")
            run(f"PRAGMA max_page_count={size_mb * 1024 * 1024 // _PAGE_BYTES}")
        for number, name, vectors, indexes in run("SELECT * FROM collections ORDER BY number"):
            sizes = {
                each: (size, distance) for each, (size, distance) in json.loads(vectors).items()
            }
            self._numbers[name] = number
            self._layouts[name] = Layout(sizes, json.loads(indexes))

    def _row(self, collection: str, point: Point) -> tuple[int, str, bytes, str]:
        packed = _pack(point, self._layouts[collection])
        return self._numbers[collection], str(point.id), packed, to_text(point.payload)


def _pack(point: Point, layout: Layout) -> bytes:
    """For each vector of the collection a byte that says if it is there, then its numbers."""
    parts = (
        b"\1" + point.vectors[name].tobytes() if name in point.vectors else b"\0"
        for name in layout.vectors
    )
    return b"".join(parts)


def _unpack(packed: bytes, layout: Layout) -> dict[str, "array[float]"]:
    vectors: dict[str, array[float]] = {}
    at = 0
    for name, (size, _) in layout.vectors.items():
        there, at = packed[at], at + 1
        if there:
            vectors[name] = array("f", packed[at : at + 4 * size])
            at += 4 * size
    return vectors
