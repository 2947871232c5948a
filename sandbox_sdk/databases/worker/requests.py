"""What a worker does for each verb of the host."""

from collections.abc import Callable
from typing import Any

from tool_plugins.errors import ErrorCode, ToolError

from . import statements
from .driver import Call
from .opened import Opened
from .rows import Collecting, FileSink, cap_hits
from .statements import statement_of
from .transactions import Handle, Handles
from .values import encode

Fields = dict[str, Any]
Write = Callable[[bytes], None]


class Requests:
    """Dispatches requests. Safe for many threads; each runs in that of its channel."""

    def __init__(self, opened: Opened, handles: Handles) -> None:
        self._opened = opened
        self._handles = handles
        self._verbs: dict[str, Callable[[str, Call, Fields, Write], Fields]] = {
            "open": self._open,
            "close": self._close,
            "query": self._query,
            "execute": self._execute,
            "begin": self._begin,
            "commit": self._commit,
            "rollback": self._rollback,
            "schema": self._schema,
            "search": self._search,
            "upsert": self._upsert,
            "delete": self._delete,
        }

    def timeout_s(self, fields: Fields) -> float:
        """How long a request may take: no longer than its transaction has left.

        Raises:
            ToolError: TRANSACTION_ENDED.
        """
        identity = fields["arguments"].get("transaction_id")
        left = self._handles.remaining_s(identity) if identity else fields["timeout_s"]
        return min(left, fields["timeout_s"])

    def answer(self, fields: Fields, call: Call, write: Write) -> Fields:
        """The fields of the answer. Pieces of a file go to `write` first.

        Raises:
            ToolError: the caller can mend it.
        """
        return self._verbs[fields["verb"]](fields["database"], call, fields["arguments"], write)

    def settle(self, fields: Fields) -> None:
        """Lets a driver clean up after an answer was sent."""
        self._opened.settle(fields["database"])

    def _open(self, database: str, call: Call, arguments: Fields, write: Write) -> Fields:
        self._opened.open(database, arguments["driver"], arguments["settings"])
        return {}

    def _close(self, database: str, call: Call, arguments: Fields, write: Write) -> Fields:
        self._opened.close(database)
        self._handles.end_all(database, "rolled back: the database was closed")
        return {}

    def _query(self, database: str, call: Call, arguments: Fields, write: Write) -> Fields:
        statement = statement_of(arguments)
        identity, file = arguments.get("transaction_id"), arguments.get("file")

        def sink() -> Collecting | FileSink:
            return FileSink(file, call, write) if file else Collecting(call.caps)

        if identity:
            with self._handles.use(identity) as handle:
                if arguments.get("explain"):
                    return statements.explain_in(handle.transaction, call, statement)
                return statements.query_in(handle.transaction, call, statement, sink())
        driver = self._opened.sql(database)
        if arguments.get("explain"):
            return statements.explain(driver, call, statement)
        return statements.query(driver, call, statement, sink)

    def _execute(self, database: str, call: Call, arguments: Fields, write: Write) -> Fields:
        batch = [statement_of(each) for each in arguments["statements"]]
        identity, dry_run = arguments.get("transaction_id"), arguments["dry_run"]
        if identity:
            with self._handles.use(identity) as handle:
                done = statements.execute_in(handle.transaction, call, batch, dry_run=dry_run)
                return done | {"transaction_id": identity}
        return statements.execute(self._opened.sql(database), call, batch, dry_run=dry_run)

    def _begin(self, database: str, call: Call, arguments: Fields, write: Write) -> Fields:
        driver = self._opened.sql(database)
        if not driver.transactions:
            raise ToolError(ErrorCode.UNSUPPORTED, f"{database} has no transactions")
        transaction = driver.begin(
            call, read_only=arguments["read_only"], isolation=arguments["isolation"]
        )
        try:
            # Nobody would know of it.
            call.check()
        except ToolError:
            transaction.rollback()
            raise
        idle_s, total_s = arguments["idle_timeout_s"], arguments["total_s"]
        self._handles.add(arguments["id"], Handle(database, transaction, idle_s, total_s))
        return {}

    def _commit(self, database: str, call: Call, arguments: Fields, write: Write) -> Fields:
        with self._handles.use(arguments["transaction_id"]) as handle:
            statements.commit(handle.transaction, call)
            handle.over = "it was already committed"
        return {}

    def _rollback(self, database: str, call: Call, arguments: Fields, write: Write) -> Fields:
        with self._handles.use(arguments["transaction_id"]) as handle:
            handle.over = "it was already rolled back"
        return {}

    def _schema(self, database: str, call: Call, arguments: Fields, write: Write) -> Fields:
        return encode(self._opened.get(database).schema(call, **arguments))

    def _search(self, database: str, call: Call, arguments: Fields, write: Write) -> Fields:
        found = encode(self._opened.vector(database).search(call, arguments))
        return cap_hits(found, call.caps.bytes)

    def _upsert(self, database: str, call: Call, arguments: Fields, write: Write) -> Fields:
        return encode(self._opened.vector(database).upsert(call, arguments))

    def _delete(self, database: str, call: Call, arguments: Fields, write: Write) -> Fields:
        return encode(self._opened.vector(database).delete(call, arguments))
