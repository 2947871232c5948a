"""Drivers that misbehave on demand. The statement's text is what to do.

They load in the worker, so they import what a driver may.
"""

import ctypes
import os
import threading
import time
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

from sandbox_sdk.databases.worker.driver import (
    Call,
    Done,
    Driver,
    Sink,
    Statement,
    Transaction,
    VectorDriver,
)
from sandbox_sdk.databases.worker.values import decode_param
from tool_plugins.errors import ErrorCode, ToolError


class Shelf:
    """What a `ShelfDriver` holds: committed items, and a journal of what happened to it."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.journal: list[str] = []


class ShelfDriver(Driver):
    """An engine whose statements are words; settings may script its failures.

    `fail` is a list of [point, code, sent]: each is raised once, at `begin`, `query`, `execute`
    or `commit`, in order.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        if "refuse" in settings:
            raise ToolError(
                ErrorCode.DATABASE_UNAVAILABLE, settings["refuse"], details={"credential": True}
            )
        self.settings = settings
        self.failures: list[list[Any]] = list(settings.get("fail", ()))
        self.shelf = Shelf()
        self.lock = threading.Lock()

    def meet(self, point: str) -> None:
        if self.failures and self.failures[0][0] == point:
            _, code, sent = self.failures.pop(0)
            self.shelf.journal.append(f"{point} failed")
            raise ToolError(ErrorCode(code), f"scripted {code}", details={"sent": sent})

    def begin(self, call: Call, *, read_only: bool, isolation: str | None) -> Transaction:
        if self.settings.get("refusing"):
            raise ToolError(
                ErrorCode.DATABASE_UNAVAILABLE, "no such role", details={"credential": True}
            )
        self.meet("begin")
        self.shelf.journal.append(f"begin {'read' if read_only else 'write'} {isolation}")
        return ShelfTransaction(self)

    def schema(self, call: Call, *, pattern: str, detail: str, limit: int) -> dict[str, Any]:
        return {"items": [{"name": pattern, "kind": "table"}], "total": 1, "truncated": False}

    def settle(self) -> None:
        self.shelf.journal.append("settled")

    def close(self) -> None:
        if marker := self.settings.get("closed_file"):
            with open(marker, "a") as file:
                file.write("closed\n")


class ShelfTransaction(Transaction):
    """Works on a copy of the items until `commit`."""

    def __init__(self, driver: ShelfDriver) -> None:
        self.driver = driver
        self.items = list(driver.shelf.items)
        self.open = True

    def query(self, call: Call, statement: Statement, sink: Sink) -> None:
        self.driver.meet("query")
        word, _, rest = statement.query.partition(" ")
        getattr(self, f"do_{word}")(call, sink, rest, decode_param(statement.params))

    def execute(self, call: Call, statement: Statement, sink: Sink) -> Done:
        self.driver.meet("execute")
        word, _, rest = statement.query.partition(" ")
        if word == "put":
            self.items.append(rest)
            return Done("PUT", 1)
        if word == "bad":
            raise ToolError(ErrorCode.QUERY_ERROR, "bad statement", details={"sqlstate": "42601"})
        self.query(call, statement, sink)
        return Done("DID")

    def explain(self, call: Call, statement: Statement) -> str:
        return f"plan of {statement.query}"

    def savepoint(self, call: Call) -> Callable[[], None] | None:
        if self.driver.settings.get("savepoints") is False:
            return None
        kept = list(self.items)

        def undo() -> None:
            self.items = kept

        return undo

    def commit(self, call: Call) -> None:
        self.driver.meet("commit")
        self.driver.shelf.items = self.items
        self.driver.shelf.journal.append("commit")
        self.open = False

    def rollback(self) -> None:
        if self.open:
            self.driver.shelf.journal.append("rollback")
        self.open = False

    def do_items(self, call: Call, sink: Sink, rest: str, params: Any) -> None:
        sink.columns([("item", "text")])
        for item in self.items:
            sink.row([item])

    def do_journal(self, call: Call, sink: Sink, rest: str, params: Any) -> None:
        sink.columns([("event", "text")])
        for event in list(self.driver.shelf.journal):
            sink.row([event])

    def do_echo(self, call: Call, sink: Sink, rest: str, params: Any) -> None:
        sink.columns([("value", "any")])
        sink.row([params])

    def do_rows(self, call: Call, sink: Sink, rest: str, params: Any) -> None:
        sink.columns([("n", "integer"), ("text", "text")])
        count, width = map(int, rest.split())
        for number in range(count):
            if not sink.row([number, "x" * width]):
                break

    def do_rows_then_fail(self, call: Call, sink: Sink, rest: str, params: Any) -> None:
        self.do_rows(call, sink, rest, params)
        raise ToolError(ErrorCode.QUERY_ERROR, "division by zero")

    def do_typed(self, call: Call, sink: Sink, rest: str, params: Any) -> None:
        sink.columns([("d", "numeric"), ("t", "timestamp"), ("b", "bytes"), ("n", "null")])
        sink.row([Decimal("1.10"), datetime(2024, 1, 2, 3, 4, 5), b"\x00\xff", None])

    def do_twins(self, call: Call, sink: Sink, rest: str, params: Any) -> None:
        sink.columns([("a", "int"), ("a", "int")])
        sink.row([1, 2])

    def do_process(self, call: Call, sink: Sink, rest: str, params: Any) -> None:
        sink.columns([("pid", "integer"), ("environment", "json")])
        sink.row([os.getpid(), dict(os.environ)])

    def do_status(self, call: Call, sink: Sink, rest: str, params: Any) -> None:
        sink.columns([("line", "text")])
        with open("/proc/self/status") as file:
            for line in file:
                sink.row([line.strip()])

    def do_wait(self, call: Call, sink: Sink, rest: str, params: Any) -> None:
        """Waits until it is cancelled, as a good driver does; `rest` is a file to make first."""
        stopped = threading.Event()
        with call.cancelling(stopped.set):
            if rest:
                open(rest, "w").close()
            stopped.wait(60)
        raise ToolError(ErrorCode.QUERY_ERROR, "canceling statement due to user request")

    def do_stubborn(self, call: Call, sink: Sink, rest: str, params: Any) -> None:
        """Ignores that it is cancelled."""
        if rest:
            open(rest, "w").close()
        time.sleep(60)

    def do_eat(self, call: Call, sink: Sink, rest: str, params: Any) -> None:
        sink.columns([("much", "bytes")])
        kept = [bytes(2**26) for _ in range(64)]
        sink.row([kept])

    def do_crash(self, call: Call, sink: Sink, rest: str, params: Any) -> None:
        ctypes.string_at(0)

    def do_exit(self, call: Call, sink: Sink, rest: str, params: Any) -> None:
        os._exit(7)

    def do_raise(self, call: Call, sink: Sink, rest: str, params: Any) -> None:
        raise KeyError("a secret of the driver")

    def do_systemexit(self, call: Call, sink: Sink, rest: str, params: Any) -> None:
        raise SystemExit(3)


class PointsDriver(VectorDriver):
    """A vector database that answers what it was asked."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.count = 0

    def search(self, call: Call, arguments: dict[str, Any]) -> dict[str, Any]:
        hits = [
            {"id": number, "score": float("nan"), "payload": {"text": "x" * 300}}
            for number in range(arguments["limit"])
        ]
        return {"hits": hits}

    def upsert(self, call: Call, arguments: dict[str, Any]) -> dict[str, Any]:
        self.count += len(arguments["points"])
        return self._changed(arguments, len(arguments["points"]))

    def delete(self, call: Call, arguments: dict[str, Any]) -> dict[str, Any]:
        return self._changed(arguments, None)

    def schema(self, call: Call, *, pattern: str, detail: str, limit: int) -> dict[str, Any]:
        return {"items": [], "total": 0, "truncated": False}

    def close(self) -> None: ...

    def _changed(self, arguments: dict[str, Any], changed: int | None) -> dict[str, Any]:
        return {"collection": arguments["collection"], "changed": changed, "count": self.count}
