"""A worker process with databases of drivers that misbehave on demand."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from sandbox_sdk.databases.provisioner import Copy
from sandbox_sdk.databases.worker.client import Worker, Workers
from sandbox_sdk.databases.worker.driver import Caps
from sandbox_sdk.databases.worker.pipe import Pieces

DRIVERS = "tests.sandbox_sdk.databases.worker.drivers"
CAPS = Caps(rows=1000, bytes=1_000_000, cell_chars=2000)

Query = Callable[..., Awaitable[dict[str, Any]]]


def copy_of(name: str = "ShelfDriver", **settings: Any) -> Copy:
    """A copy that is opened with one of the drivers here."""
    return Copy(f"{DRIVERS}:{name}", settings)


async def until(condition: Callable[[], object]) -> None:
    """Waits until something holds that nobody tells of."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.005)


class Listener:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, str]] = []
        self.stuck_databases: list[str] = []
        self.reasons: list[str] = []
        self.changed = asyncio.Event()

    def transaction_ended(self, transaction_id: str, reason: str) -> None:
        self.ended.append((transaction_id, reason))
        self.changed.set()

    async def stuck(self, database: str) -> None:
        self.stuck_databases.append(database)
        self.changed.set()

    def lost(self, worker: Worker, reason: str) -> None:
        self.reasons.append(reason)
        self.changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Waits until what was heard fulfils the condition."""
        async with asyncio.timeout(20):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    made = Workers()
    yield made
    await made.aclose()


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
async def worker(workers: Workers, listener: Listener) -> Worker:
    """A worker with an open database `db`."""
    spawned = await workers.spawn("sandbox-1", listener)
    await spawned.open("db", copy_of())
    return spawned


def querying(worker: Worker) -> Query:
    """Asks a worker for what a statement of `ShelfTransaction` answers."""

    async def query(
        text: str,
        *,
        params: Any = None,
        timeout_s: float = 20.0,
        caps: Caps = CAPS,
        pieces: Pieces | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        arguments = {"query": text, "params": params, **more}
        return await worker.request(
            "query", "db", arguments, caps=caps, timeout_s=timeout_s, pieces=pieces
        )

    return query


@pytest.fixture
def query(worker: Worker) -> Query:
    return querying(worker)
