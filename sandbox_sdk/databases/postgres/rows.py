"""Rows of a result on their way to a sink, and the names of their types."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import abc, pq
from psycopg.abc import AdaptContext
from psycopg.adapt import AdaptersMap, Transformer
from psycopg.types import TypeInfo

from sandbox_sdk.databases.worker.driver import Sink

from .session import Session
from .values import UNKNOWN, Loaders

OWN_TYPES = (
    b"SELECT oid, typarray, pg_catalog.format_type(oid, NULL), typdelim FROM pg_catalog.pg_type "
    b"WHERE oid >= 16384 AND typarray <> 0"
)
FIRST_OWN = 16384
"""Types below come with PostgreSQL; psycopg knows them."""


class UnknownTypeError(Exception):
    """A result has a type that was made after the types were read."""

    def __init__(self, oids: list[int]) -> None:
        super().__init__("a type is not known yet")
        self.oids = oids


@dataclass(frozen=True, slots=True)
class _Context:
    """What psycopg reads values with."""

    adapters: AdaptersMap
    connection: psycopg.Connection[Any] | None


class Types:
    """The types of one database. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaders = Loaders()
        self._own: dict[int, str] = {}
        self._known: dict[int, str] = {}
        self._arrays: set[int] = set()

    def knows(self, oids: Sequence[int]) -> bool:
        """Whether the types of the database have to be read again."""
        return all(oid < FIRST_OWN or oid in self._own for oid in oids)

    def name(self, oid: int) -> str:
        """The database's own name for it, such as "numeric", "text[]" or "mood"."""
        name = self._own.get(oid) or self._known.get(oid)
        if name is None:
            name = self._known[oid] = self._known_name(oid)
        return name

    @staticmethod
    def _known_name(oid: int) -> str:
        info = psycopg.adapters.types.get(oid)
        if info is None:
            return "unknown" if oid == UNKNOWN else f"type {oid}"
        return f"{info.name}[]" if info.array_oid == oid else info.name

    def read(self, session: Session, missing: Sequence[int]) -> None:
        """Reads the database's own types. What is `missing` even then has no name (a type that
        was dropped meanwhile); it is not looked for again."""
        result = session.run(OWN_TYPES)
        with self._lock:
            own = {oid: f"type {oid}" for oid in missing if oid >= FIRST_OWN}
            for row in range(result.ntuples):
                oid, array, name, delimiter = (
                    (result.get_value(row, column) or b"").decode() for column in range(4)
                )
                own |= {int(oid): name, int(array): f"{name}[]"}
                if int(oid) not in self._arrays:
                    self._arrays.add(int(oid))
                    info = TypeInfo(name, int(oid), int(array), delimiter=delimiter)
                    self._loaders.add_array(info)
            self._own = {**self._own, **own}

    def forget(self) -> None:
        """Types may have been made, renamed or dropped."""
        with self._lock:
            self._own = {}

    def transformer(self, session: Session, *, strict: bool) -> abc.Transformer:
        """What makes Python values of rows."""
        adapters = self._loaders.strict if strict else self._loaders.lenient
        context: AdaptContext = _Context(adapters, session.connection)
        return Transformer(context)


class Feeder:
    """Feeds a sink from the chunks of one result. With `retry` it stops at types whose names are
    not known yet, so that they are read and the statement is run again."""

    def __init__(self, session: Session, types: Types, sink: Sink, *, retry: bool) -> None:
        self._session = session
        self._types = types
        self._sink = sink
        self._retry = retry
        self._strict: abc.Transformer | None = None

    def take(self, result: pq.abc.PGresult) -> bool:
        """Hands on the rows of one chunk. False: there was one too many.

        Raises:
            UnknownTypeError: before the sink was touched.
        """
        if self._strict is None:
            self._strict = self._begin(result)
        if not result.ntuples:
            return True
        return all(map(self._sink.row, self._load(self._strict, result)))

    def _begin(self, result: pq.abc.PGresult) -> abc.Transformer:
        oids = type_oids(result)
        if self._retry and not self._types.knows(oids):
            raise UnknownTypeError(oids)
        names = [result.fname(column) or b"" for column in range(result.nfields)]
        self._sink.columns(
            [
                (name.decode("utf-8", "replace"), self._types.name(oid))
                for name, oid in zip(names, oids, strict=True)
            ]
        )
        transformer = self._types.transformer(self._session, strict=True)
        transformer.set_pgresult(result)
        return transformer

    def _load(self, strict: abc.Transformer, result: pq.abc.PGresult) -> list[tuple[Any, ...]]:
        try:
            strict.set_pgresult(result, set_loaders=False)
            return strict.load_rows(0, result.ntuples, tuple)
        except (psycopg.Error, ValueError, ArithmeticError, RecursionError):
            lenient = self._types.transformer(self._session, strict=False)
            lenient.set_pgresult(result)
            return lenient.load_rows(0, result.ntuples, tuple)


def type_oids(result: pq.abc.PGresult) -> list[int]:
    """The types of a result's columns."""
    return [result.ftype(column) for column in range(result.nfields)]


def parameter_oids(result: pq.abc.PGresult) -> list[int]:
    """The types of a described statement's placeholders."""
    return [result.param_type(number) for number in range(result.nparams)]
