"""Budgets of databases, on a PostgreSQL server of its own."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
from psycopg import sql
from pydantic import SecretStr

from container_runtime.engines.in_process import InProcessEngine
from examples.databases.postgres import PostgresServer, find_binaries
from sandbox_sdk import SandboxGroup
from sandbox_sdk.databases.access import Access, Database, DatabaseAccess
from sandbox_sdk.databases.population.load import load_population
from sandbox_sdk.databases.provisioner import Place, provisioner_of
from sandbox_sdk.options import new_sandbox_id
from tests.documents import ROOT

from .budget import Row, fraction
from .lifecycle import AT_ONCE, SMALL
from .measure import Sample, Step, in_turns, timed

POPULATION = ROOT / "examples" / "databases" / "shop" / "population.yaml"
BY_KEY = "SELECT name, price FROM products WHERE id = {}"
SELL = "UPDATE products SET stock = stock - 1 WHERE id = 1 RETURNING stock"
LEFT = 11
MIB = 2**20
WARM_UP = 20
ROUNDS = 400
CLONES = 20
QUERY_BUDGET = 3
CLONE_BUDGET = 5


async def rows(_group: SandboxGroup) -> list[Row]:
    """One row, a copy, and many sandboxes with one of their own at once."""
    with _server() as server:
        shop = Database(
            name="shop",
            engine="postgres",
            url=SecretStr(server.url),
            access=Access(default="write"),
        )
        async with SandboxGroup(
            name="benchmarks-databases",
            state_dir=server.folder / "state",
            database_access=DatabaseAccess(databases=(shop,)),
            initial_database_population_config=POPULATION,
        ) as group:
            return [
                await _one_row(group, server),
                await _copy(shop, server),
                await _many_at_once(group),
            ]


@contextmanager
def _server() -> Iterator[PostgresServer]:
    if find_binaries() is None:
        raise RuntimeError("no PostgreSQL server to measure with: install the package postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    folder.chmod(0o755)  # the server may run as a user of its own
    server = PostgresServer(folder / "server").create().start()
    try:
        yield server
    finally:
        server.stop(mode="immediate")
        shutil.rmtree(folder)


async def _one_row(group: SandboxGroup, server: PostgresServer) -> Row:
    """One row by its key, against a connection that stays open in this process."""
    async with await group.create_sandbox() as sandbox:
        ours, plain = BY_KEY.format("$1"), BY_KEY.format("%s")
        await sandbox.database.query("shop", ours, [3])
        (copy,) = _names(server, "sbx\\_%")
        async with await psycopg.AsyncConnection.connect(
            server.url_of(copy), autocommit=True
        ) as connection:

            async def bare() -> None:
                await (await connection.execute(sql.SQL(plain), [3])).fetchall()

            sdk, psycopg_alone = await _alternate(
                lambda: sandbox.database.query("shop", ours, [3]), bare
            )
    what, against = "SDK: one row of a database", "bare psycopg"
    return fraction(what, sdk, psycopg_alone, against, at_most=QUERY_BUDGET)


async def _alternate(subject: Step, baseline: Step) -> tuple[Sample, Sample]:
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(WARM_UP + ROUNDS):
        for step, found in zip((subject, baseline), times, strict=True):
            taken = await timed(step)
            if number >= WARM_UP:
                found.append(taken)
    return Sample(times[0]), Sample(times[1])


async def _copy(shop: Database, server: PostgresServer) -> Row:
    """A copy with a role of its own, against the two statements that it cannot do without."""
    population = load_population(POPULATION, {"shop": "postgres"})["shop"]
    engine = InProcessEngine(state_dir=server.folder / "engine")
    place = Place(server.folder / "copies", engine, report=lambda _: None)
    provisioner = provisioner_of("postgres")(shop, population, place)
    sandbox_id = new_sandbox_id()
    await provisioner.open()
    try:
        (template,) = _names(server, "sbxt\\_%")
        name = sql.Identifier(template)
        async with await psycopg.AsyncConnection.connect(server.url, autocommit=True) as bare:

            async def plain() -> None:
                await bare.execute(sql.SQL("CREATE DATABASE plain TEMPLATE {}").format(name))
                await bare.execute("DROP DATABASE plain")

            async def ours() -> None:
                await provisioner.create(sandbox_id, shop.access)
                await provisioner.drop(sandbox_id)

            subject, baseline = await in_turns(ours, plain, rounds=CLONES)
    finally:
        await provisioner.aclose()
    what, against = "copy a database, and drop it", "CREATE + DROP DATABASE"
    return fraction(what, subject, baseline, against, at_most=CLONE_BUDGET)


async def _many_at_once(group: SandboxGroup) -> Row:
    """Each sandbox sells one of the same thing; in a database of its own, it is the first."""
    async with await group.create_sandbox() as alone:
        await alone.database.query("shop", BY_KEY.format("$1"), [3])
        memory = _worker_mb()

    async def one() -> None:
        async with await group.create_sandbox(compute_resources=SMALL) as sandbox:
            done = await sandbox.database.execute("shop", [{"query": SELL}])
            if done.statements[0].rows != [[LEFT]]:
                raise RuntimeError(f"this is not a fresh copy: {done.statements[0].rows}")

    began = time.perf_counter()
    outcomes = await asyncio.gather(*(one() for _ in range(AT_ONCE)), return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    return Row(
        what=f"{AT_ONCE} sandboxes with a database each at once",
        p50=f"{time.perf_counter() - began:.1f} s in all",
        p99="-",
        against=f"a worker: {memory:.1f} MB of its own",
        ratio="-",
        budget="0 failures",
        reasons=(f"{len(failures)} failures, first {failures[0]!r}",) if failures else (),
    )


def _names(server: PostgresServer, pattern: str) -> list[str]:
    """The databases of that server whose names match."""
    with psycopg.connect(server.url) as connection:
        query = "SELECT datname FROM pg_database WHERE datname LIKE %s ORDER BY datname"
        return [row[0] for row in connection.execute(query, [pattern])]


def _worker_mb() -> float:
    """What a worker has beyond what it shares with the process it was forked from."""
    (zygote,) = [
        process
        for process in psutil.Process().children()
        if any("databases/worker" in argument for argument in process.cmdline())
    ]
    (worker,) = zygote.children()
    return worker.memory_full_info().uss / MIB
