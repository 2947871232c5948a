"""What one sandbox does with its databases: the tools `database.*` and `vector.*` end here.

A call goes: limits and names are looked at here; the copy is made on first use (`attachment`);
the worker runs it as the sandbox's restricted principal. The engine says what is allowed; where
this module refuses something first it is only to say it more clearly.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tool_plugins.errors import ErrorCode, SandboxError, ToolError

from .access import Database
from .attachment import Attachment, Provisioned
from .handles import OpenTransactions
from .output import Upload, write_file
from .views import view
from .worker.client import Worker, Workers
from .worker.driver import Caps
from .worker.pipe import Pieces, WorkerLost

__all__ = ("Provisioned", "SandboxDatabases")

TERMINATE_S = 10.0
RENEWED = ("credential", "expired")
"""Details of a failure after which a fresh credential helps."""

Fields = dict[str, Any]

logger = logging.getLogger(__name__)


class SandboxDatabases:
    """The databases of one sandbox. `upload` writes a file of its workspace."""

    def __init__(
        self,
        sandbox_id: str,
        databases: Mapping[str, Provisioned],
        workers: Workers,
        upload: Upload,
    ) -> None:
        self._sandbox_id = sandbox_id
        self._workers = workers
        self._upload = upload
        self._attachments = {
            name: Attachment(sandbox_id, each, self._living_worker)
            for name, each in databases.items()
        }
        self._transactions = OpenTransactions()
        self._worker: Worker | None = None
        self._spawning = asyncio.Lock()
        self._closed = False
        self._tools: dict[str, Callable[[Fields], Awaitable[Fields]]] = {
            "database.list": self._list,
            "database.schema": self._schema,
            "database.query": self._query,
            "database.execute": self._execute,
            "database.begin": self._begin,
            "database.commit": self._commit,
            "database.rollback": self._rollback,
            "vector.search": self._search,
            "vector.upsert": self._upsert,
            "vector.delete": self._delete,
        }

    @property
    def open_transactions(self) -> tuple[str, ...]:
        """The ids of the transactions that are open, oldest first."""
        return self._transactions.ids

    async def execute(self, tool: str, arguments: Fields) -> Fields:
        """Does what a tool asks for: validated arguments in, the fields of its result out.

        Raises:
            ToolError: the caller can mend it.
        """
        run = self._tools.get(tool)
        if run is None:
            raise ToolError(ErrorCode.UNKNOWN_TOOL, f"{tool} is no tool for databases")
        if self._closed:
            raise _ending()
        return await run(arguments)

    async def settings(self, database: str) -> Mapping[str, Any]:
        """How the restricted principal connects (`Copy.settings`), for programs of the sandbox.

        Raises:
            ToolError: there is no such database, or it cannot be had now.
        """
        return await self._attachment(database).settings()

    async def reset(self, database: str) -> None:
        """Drops the copy of a database; the next call finds it as it was at first.

        Its open transactions are rolled back.

        Raises:
            ToolError: NOT_FOUND; UNSUPPORTED for a shared database, whose data are not its own.
            SandboxError: its server failed; call it again.
        """
        attachment = self._attachment(database)
        if attachment.database.isolation == "shared":
            raise ToolError(
                ErrorCode.UNSUPPORTED,
                f"{database} is shared with other sandboxes and cannot be reset by one of them",
                hint="only a copy can be reset",
            )
        self._transactions.end_all("rolled back: the database was reset", database=database)
        await attachment.reset()

    async def aclose(self) -> None:
        """Ends the worker; open transactions are rolled back. Copies stay. Idempotent."""
        self._closed = True
        await asyncio.gather(*(each.aclose() for each in self._attachments.values()))
        self._transactions.end_all("rolled back: the sandbox ended")
        async with self._spawning:
            worker, self._worker = self._worker, None
            if worker is not None:
                await worker.end()

    # What the worker tells.

    def transaction_ended(self, transaction_id: str, reason: str) -> None:
        """See `worker.client.Listener`."""
        self._transactions.end(transaction_id, reason)

    async def stuck(self, database: str) -> None:
        """See `worker.client.Listener`."""
        attachment = self._attachments.get(database)
        if attachment is None:
            return
        try:
            async with asyncio.timeout(TERMINATE_S):
                await attachment.terminate()
        except (SandboxError, TimeoutError) as exc:
            logger.warning("a call of %s on %s may go on: %s", self._sandbox_id, database, exc)

    def lost(self, worker: Worker, reason: str) -> None:
        """See `worker.client.Listener`."""
        self._transactions.end_all(f"rolled back: the worker ended ({reason})")

    # The tools.

    async def _list(self, arguments: Fields) -> Fields:
        views = (view(each.database, each.file) for each in self._attachments.values())
        return {"databases": list(views)}

    async def _schema(self, arguments: Fields) -> Fields:
        attachment = self._attachment(arguments["database"])
        wanted = {name: arguments[name] for name in ("pattern", "detail", "limit")}
        fields = await self._request(attachment, "schema", wanted, repeat=True)
        database = attachment.database
        return {"database": database.name, "engine": database.engine} | fields

    async def _query(self, arguments: Fields) -> Fields:
        attachment = self._statements(arguments)
        identity, file = arguments.get("transaction_id"), arguments.get("output_file")
        wanted: Fields = {
            "query": arguments["query"],
            "params": arguments.get("params"),
            "explain": arguments.get("explain", False),
            "transaction_id": identity,
        }
        asked = arguments.get("limit", attachment.database.limits.rows)
        call = self._call(attachment.database, arguments, rows=asked)
        if file is not None:
            wanted["file"] = file.rpartition(".")[2]
            pieces = Pieces()
            rows = self._request(attachment, "query", wanted, call, pieces=pieces)
            return await write_file(rows, pieces, file, self._upload)
        return await self._request(attachment, "query", wanted, call, repeat=identity is None)

    async def _execute(self, arguments: Fields) -> Fields:
        attachment = self._statements(arguments)
        self._check_writable(attachment.database)
        wanted = {
            "statements": arguments["statements"],
            "dry_run": arguments.get("dry_run", False),
            "transaction_id": arguments.get("transaction_id"),
        }
        call = self._call(attachment.database, arguments)
        return await self._request(attachment, "execute", wanted, call)

    async def _begin(self, arguments: Fields) -> Fields:
        attachment = self._statements(arguments)
        database, identity = attachment.database, self._transactions.new_id()
        shown = {name: arguments[name] for name in ("read_only", "idle_timeout_s")}
        wanted = {
            "id": identity,
            "isolation": arguments.get("isolation"),
            "total_s": database.limits.transaction_s,
        }
        await attachment.ready()
        # Known before it is begun: its worker may end at once.
        self._transactions.add(identity, database.name)
        try:
            await self._request(attachment, "begin", wanted | shown)
        except BaseException:
            self._transactions.end(identity, "it was never begun")
            raise
        return {"transaction_id": identity, "database": database.name} | shown

    async def _commit(self, arguments: Fields) -> Fields:
        return await self._end(arguments["transaction_id"], "commit", "committed")

    async def _rollback(self, arguments: Fields) -> Fields:
        return await self._end(arguments["transaction_id"], "rollback", "rolled back")

    async def _end(self, identity: str, verb: str, outcome: str) -> Fields:
        attachment = self._attachment(self._transactions.database(identity))
        await self._request(attachment, verb, {"transaction_id": identity})
        self._transactions.end(identity, f"it was already {outcome}")
        return {"transaction_id": identity, "outcome": outcome}

    async def _search(self, arguments: Fields) -> Fields:
        return await self._vectors("search", arguments, repeat=True)

    async def _upsert(self, arguments: Fields) -> Fields:
        return await self._vectors("upsert", arguments)

    async def _delete(self, arguments: Fields) -> Fields:
        return await self._vectors("delete", arguments)

    async def _vectors(self, verb: str, arguments: Fields, *, repeat: bool = False) -> Fields:
        attachment = self._attachment(arguments["database"])
        database = attachment.database
        if database.engine != "qdrant":
            raise ToolError(
                ErrorCode.UNSUPPORTED,
                f"{database.name} is a {database.engine} database and has no collections",
                hint="use database_query and database_execute",
            )
        if verb != "search":
            self._check_writable(database)
        wanted = {
            name: value
            for name, value in arguments.items()
            if name not in ("database", "timeout_s")
        }
        call = self._call(database, arguments)
        return await self._request(attachment, verb, wanted, call, repeat=repeat)

    # On the way to the worker.

    def _attachment(self, name: str) -> Attachment:
        attachment = self._attachments.get(name)
        if attachment is None:
            known = ", ".join(self._attachments) or "none"
            raise ToolError(
                ErrorCode.NOT_FOUND,
                f"there is no database {name!r}; this sandbox has: {known}",
                hint="see database_list",
            )
        if attachment.file is not None:
            raise ToolError(
                ErrorCode.UNSUPPORTED,
                f"{name} is a file of the sandbox, which its programs open: {attachment.file}",
                hint=f"python3 -m sqlite3 {attachment.file} 'SELECT ...'",
            )
        return attachment

    def _statements(self, arguments: Fields) -> Attachment:
        """The database of a call with statements; its transaction must be one of it."""
        attachment = self._attachment(arguments["database"])
        if attachment.database.engine == "qdrant":
            raise ToolError(
                ErrorCode.UNSUPPORTED,
                f"{attachment.database.name} is a qdrant database and takes no statements",
                hint="use vector_search, vector_upsert and vector_delete",
            )
        identity = arguments.get("transaction_id")
        if identity is not None:
            place = self._transactions.database(identity)
            if place != attachment.database.name:
                raise ToolError(
                    ErrorCode.INVALID_ARGUMENT,
                    f"transaction {identity} is one of {place}, not of {attachment.database.name}",
                    hint=f"pass database={place!r}",
                )
        return attachment

    def _check_writable(self, database: Database) -> None:
        if not database.access.writable:
            raise ToolError(
                ErrorCode.PERMISSION_DENIED,
                f"this sandbox may not write to {database.name}",
                hint="database_list shows what it may do",
            )

    def _call(
        self, database: Database, arguments: Fields, *, rows: int | None = None
    ) -> tuple[Caps, float]:
        """Caps and deadline: the caller's, or the operator's where they are lower."""
        limits = database.limits
        caps = Caps(min(rows or limits.rows, limits.rows), limits.bytes, limits.cell_chars)
        return caps, min(arguments.get("timeout_s") or limits.timeout_s, limits.timeout_s)

    async def _request(
        self,
        attachment: Attachment,
        verb: str,
        wanted: Fields,
        call: tuple[Caps, float] | None = None,
        *,
        repeat: bool = False,
        pieces: Pieces | None = None,
    ) -> Fields:
        """Asks the worker. `repeat`: it changes nothing, so it may be asked again."""
        database = attachment.database
        caps, timeout_s = call or self._call(database, {})
        renewed = False
        while True:
            worker = await attachment.ready()
            try:
                return await worker.request(
                    verb, database.name, wanted, caps=caps, timeout_s=timeout_s, pieces=pieces
                )
            except ToolError as exc:
                if renewed or not any(map(exc.details.get, RENEWED)):
                    raise
                # The server does not know the principal any more, or what proves it.
                attachment.renew(worker)
                renewed = True
            except WorkerLost as exc:
                # One that ended by itself may have done so because of this very call.
                if not (repeat and exc.deliberate) or self._closed:
                    raise _lost(exc, verb) from exc
                repeat = False

    async def _living_worker(self) -> Worker:
        async with self._spawning:
            if self._closed:
                raise _ending()
            worker = self._worker
            if worker is None or worker.lost:
                if worker is not None:
                    # Its server may still have to be told to stop.
                    await worker.end()
                self._worker = await self._workers.spawn(self._sandbox_id, self)
            assert self._worker is not None
            return self._worker


def _lost(error: WorkerLost, verb: str) -> ToolError:
    unknown = "; whether it took effect is not known" if verb == "commit" else ""
    return ToolError(
        ErrorCode.DATABASE_UNAVAILABLE,
        f"the worker of the databases ended during the call: {error.reason}{unknown}",
        hint="call again; open transactions were rolled back",
        details={"sent": True},
    )


def _ending() -> ToolError:
    return ToolError(ErrorCode.DATABASE_UNAVAILABLE, "the sandbox is ending")
