"""The state tables: who owns which sandbox. The only file that imports SQLAlchemy.

A row is written before the effect it announces, and a state changes only from the state the
writer believed in. Calls run one after the other in a thread of their own. Imported when a group
starts, not before: SQLAlchemy is a third of a second that `import sandbox_sdk` must not cost.
"""

import asyncio
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from container_runtime.spec import ComputeResources
from tool_plugins.errors import ConfigurationError, GoneCause, SandboxError, SandboxStateError

from .models import SandboxState
from .records import SandboxRecord, ServerRecord

FIRST_AGENT_UID = 200_000
BUSY_TIMEOUT_S = 10
INSERT_ATTEMPTS = 20
LIVE = (SandboxState.CREATING.value, SandboxState.READY.value)

Answer = TypeVar("Answer")

metadata = sa.MetaData()

installations = sa.Table(
    "installations",
    metadata,
    sa.Column("slot", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("id", sa.String(36), nullable=False),
)

servers = sa.Table(
    "servers",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("home", sa.String(512), nullable=False),
    sa.Column("engine", sa.String(64), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
)

sandboxes = sa.Table(
    "sandboxes",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("owner", sa.String(220), nullable=False),
    sa.Column("namespace", sa.String(200), nullable=False),
    sa.Column("server_id", sa.String(64), nullable=False, index=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("resources", sa.JSON, nullable=False),
    sa.Column("agent_uid", sa.Integer, nullable=False),
    sa.Column("adoptable", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("idle_timeout_s", sa.Float),
    sa.Column("max_lifetime_s", sa.Float),
    sa.Column("lease_expires_at", sa.Float),
    sa.Column("ended_at", sa.Float),
    sa.Column("end_cause", sa.String(16)),
    sa.Column("removed_at", sa.Float),
)


def _unique_while(name: str, open_column: sa.Column[Any], *columns: sa.Column[Any]) -> None:
    """A unique index over the rows whose `open_column` is still null."""
    still_open = open_column.is_(None)
    sa.Index(name, *columns, unique=True, sqlite_where=still_open, postgresql_where=still_open)


_unique_while(
    "live_name", sandboxes.c.ended_at, sandboxes.c.namespace, sandboxes.c.owner, sandboxes.c.name
)
_unique_while("used_uid", sandboxes.c.removed_at, sandboxes.c.agent_uid)


class State:
    """The tables of one installation. Safe to share between processes."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sandbox-state")
        self.installation_id = ""

    @classmethod
    async def open(cls, url: str) -> "State":
        """Connects, and makes the tables at the first use of the database.

        Raises:
            ConfigurationError: the URL names no usable database.
        """
        state = cls(_connect(url))
        try:
            state.installation_id = await state._run(_prepare)
        except BaseException:
            await state.aclose()
            raise
        return state

    async def aclose(self) -> None:
        """Closes the database. Idempotent."""
        await asyncio.to_thread(self._thread.shutdown)
        self._engine.dispose()

    async def add_server(self, server: ServerRecord) -> None:
        """Announces a started group. Its lock is already held."""
        await self._run(lambda tx: tx.execute(servers.insert().values(**asdict(server))))

    async def remove_server(self, server_id: str) -> None:
        """Forgets a server that has nothing left."""
        gone = servers.delete().where(servers.c.id == server_id)
        await self._run(lambda tx: tx.execute(gone))

    async def list_servers(self, *, home: str, engine: str) -> list[ServerRecord]:
        """The servers whose locks lie in `home` and whose containers the engine knows."""
        wanted = servers.select().where(servers.c.home == home, servers.c.engine == engine)
        rows = await self._run(lambda tx: tx.execute(wanted).mappings().all())
        return [ServerRecord(**row) for row in rows]

    async def add_sandbox(self, record: SandboxRecord) -> SandboxRecord:
        """Writes the row of a new sandbox and gives it a user id of its own.

        Raises:
            SandboxStateError: the owner already has a live sandbox of that name.
        """
        return await self._run(lambda tx: _add_sandbox(tx, record))

    async def change(
        self, sandbox_id: str, *, when: tuple[SandboxState, ...], to: SandboxState, **values: Any
    ) -> bool:
        """Compare-and-set of the state. False when the row was in another state."""
        states = [state.value for state in when]
        change = (
            sandboxes.update()
            .where(sandboxes.c.id == sandbox_id, sandboxes.c.state.in_(states))
            .values(state=to.value, **values)
        )
        return await self._run(lambda tx: tx.execute(change).rowcount == 1)

    async def end(self, sandbox_id: str, *, cause: GoneCause, failed: bool, at: float) -> bool:
        """Marks a live sandbox as gone. False when it was already."""
        return await self.change(
            sandbox_id,
            when=(SandboxState.CREATING, SandboxState.READY),
            to=SandboxState.FAILED if failed else SandboxState.ENDED,
            ended_at=at,
            end_cause=cause.value,
        )

    async def mark_removed(self, sandbox_id: str, *, at: float) -> None:
        """Records that the engine keeps nothing of the sandbox any more."""
        done = sandboxes.update().where(sandboxes.c.id == sandbox_id, _unremoved())
        await self._run(lambda tx: tx.execute(done.values(removed_at=at)))

    async def renew(self, leases: Mapping[str, float | None]) -> None:
        """Writes when each lease runs out, in one transaction."""
        await self._run(lambda tx: _renew(tx, leases))

    async def adopt(self, sandbox_id: str, *, dead: str, by: str) -> bool:
        """Moves a live sandbox from a dead server to another. False when somebody else did."""
        move = sandboxes.update().where(
            sandboxes.c.id == sandbox_id,
            sandboxes.c.server_id == dead,
            sandboxes.c.state.in_(LIVE),
        )
        return await self._run(lambda tx: tx.execute(move.values(server_id=by)).rowcount == 1)

    async def get_sandbox(self, sandbox_id: str) -> SandboxRecord | None:
        """The row of that id, ended or not."""
        return next(iter(await self._select(sandboxes.c.id == sandbox_id)), None)

    async def list_live(self) -> list[SandboxRecord]:
        """The sandboxes of the whole installation that are usable or may become so."""
        return await self._select(sandboxes.c.state.in_(LIVE))

    async def list_unremoved(self, server_id: str | None = None) -> list[SandboxRecord]:
        """The rows whose containers may still exist, of one server or of all."""
        if server_id is None:
            return await self._select(_unremoved())
        return await self._select(_unremoved() & (sandboxes.c.server_id == server_id))

    async def _select(self, condition: sa.ColumnElement[bool]) -> list[SandboxRecord]:
        wanted = sandboxes.select().where(condition).order_by(sandboxes.c.created_at)
        rows = await self._run(lambda tx: tx.execute(wanted).mappings().all())
        return [_parse(row) for row in rows]

    async def _run(self, work: Callable[[sa.Connection], Answer]) -> Answer:
        """Runs one transaction in the state thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, work)

    def _transact(self, work: Callable[[sa.Connection], Answer]) -> Answer:
        with _translated(), self._engine.begin() as transaction:
            return work(transaction)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as exc:
        raise SandboxError(f"the state database failed: {exc}") from exc


def _connect(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return sa.create_engine(parsed, pool_pre_ping=True)
        _secure_file(parsed.database)
        engine = sa.create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S})
    except (ArgumentError, NoSuchModuleError, ImportError, OSError) as exc:
        raise ConfigurationError(f"bad state_url: {exc}") from exc
    event.listen(engine, "connect", _tune_sqlite)
    event.listen(engine, "begin", lambda tx: tx.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _secure_file(database: str | None) -> None:
    """Makes the file before SQLite does, so that nobody else can ever read it."""
    if database in (None, "", ":memory:"):
        raise ConfigurationError(
            "a state database in memory cannot be shared", hint="name a file in state_url"
        )
    path = Path(str(database))
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _tune_sqlite(connection: Any, _record: object) -> None:
    """WAL lets readers and one writer meet; the driver's own transaction start is too late."""
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={BUSY_TIMEOUT_S}000"):
        connection.execute(f"PRAGMA {pragma}").close()


def _prepare(transaction: sa.Connection) -> str:
    """Makes what is missing, and returns the installation's id."""
    metadata.create_all(transaction)
    query = sa.select(installations.c.id).where(installations.c.slot == 1)
    known = transaction.execute(query).scalar()
    if known is None:
        known = str(uuid.uuid4())
        transaction.execute(installations.insert().values(slot=1, id=known))
    return known


def _add_sandbox(transaction: sa.Connection, record: SandboxRecord) -> SandboxRecord:
    for _ in range(INSERT_ATTEMPTS):
        _refuse_taken_name(transaction, record)
        chosen = replace(record, agent_uid=_free_uid(transaction))
        try:
            with transaction.begin_nested():
                transaction.execute(sandboxes.insert().values(**_row(chosen)))
        except IntegrityError:
            continue  # another server was quicker with the name or the user id
        return chosen
    raise SandboxStateError(f"no free user id after {INSERT_ATTEMPTS} attempts")


def _refuse_taken_name(transaction: sa.Connection, record: SandboxRecord) -> None:
    table = sandboxes.c
    query = sa.select(table.id).where(
        table.namespace == record.namespace,
        table.owner == record.owner,
        table.name == record.name,
        table.ended_at.is_(None),
    )
    taken = transaction.execute(query).scalar()
    if taken is not None:
        raise SandboxStateError(
            f"a sandbox named {record.name!r} is already there",
            hint=f"use get_sandbox({taken!r}), end it, or choose another name",
        )


def _free_uid(transaction: sa.Connection) -> int:
    """The lowest user id that no container which may still exist runs under."""
    query = sa.select(sandboxes.c.agent_uid).where(_unremoved())
    used = set(transaction.execute(query).scalars())
    return next(uid for uid in range(FIRST_AGENT_UID, 2_000_000_000) if uid not in used)


def _renew(transaction: sa.Connection, leases: Mapping[str, float | None]) -> None:
    for sandbox_id, expires_at in leases.items():
        renewal = sandboxes.update().where(sandboxes.c.id == sandbox_id)
        transaction.execute(renewal.values(lease_expires_at=expires_at))


def _unremoved() -> sa.ColumnElement[bool]:
    return sandboxes.c.removed_at.is_(None)


def _row(record: SandboxRecord) -> dict[str, Any]:
    row = asdict(record)
    row["resources"] = record.resources.model_dump(mode="json")
    row["state"] = record.state.value
    row["end_cause"] = record.end_cause and record.end_cause.value
    return row


def _parse(row: Mapping[Any, Any]) -> SandboxRecord:
    values = dict(row)
    values["resources"] = ComputeResources.model_validate(values["resources"])
    values["state"] = SandboxState(values["state"])
    values["end_cause"] = values["end_cause"] and GoneCause(values["end_cause"])
    return SandboxRecord(**values)
