"""One connection to a sandbox's database, on which the model's statements run and nothing else.

It is set up, then handed to the authorizer for good: pragmas and limits cannot be changed by a
statement afterwards, so every call finds it as it was.
"""

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from sandbox_sdk.databases.worker.driver import Call
from tool_plugins.errors import ErrorCode, ToolError

from . import catalog, guards
from .authorizer import Authorizer, Mode
from .errors import is_busy, translate
from .parameters import Bound
from .rules import Rules, fold

Kind = Literal["read", "write"]
Answer = TypeVar("Answer")

BUSY_PAUSE_S = 0.01
OPEN_TIMEOUT_S = 0.25
PROGRESS_STEPS = 5000
"""SQLite's own instructions between two looks at the deadline."""
CACHE_KB = 8000
LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 16 * 1024 * 1024,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 400_100,
    sqlite3.SQLITE_LIMIT_COLUMN: 500,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 400,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 200,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 500_000,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 100,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 500,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}


@dataclass(frozen=True, slots=True)
class Site:
    """Where the database is and what holds for it. `max_bytes` bounds its file; 0 does not."""

    path: Path
    rules: Rules
    token: str
    shared: bool
    max_bytes: int


class Connection:
    """Used by one thread at a time."""

    def __init__(self, site: Site, kind: Kind) -> None:
        self.kind = kind
        self.opened_at = time.monotonic()
        self._site = site
        self._raw = connect(site.path, kind)
        try:
            self._authorizer = self._prepare()
        except BaseException:
            self._raw.close()
            raise

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open. SQLite ends one by itself after some errors."""
        return self._raw.in_transaction

    @property
    def seen(self) -> list[str]:
        """What the last statement of a model asked leave for itself, not through a trigger."""
        return self._authorizer.seen

    @property
    def changes(self) -> int:
        """Rows changed since it was opened, by triggers too."""
        return self._raw.total_changes

    def own(self, sql: str) -> sqlite3.Cursor:
        """Runs a statement of the driver."""
        return self._raw.execute(sql)

    def own_patiently(self, sql: str, call: Call) -> None:
        """Runs a statement of the driver that may have to wait for another connection's lock.

        Raises:
            sqlite3.Error: the lock was still held when the call's time was over.
        """
        _patiently(lambda: self._raw.execute(sql), call)

    def run(
        self,
        call: Call,
        query: str,
        bound: Bound,
        mode: Mode,
        take: Callable[[sqlite3.Cursor], Answer],
    ) -> Answer:
        """Runs one statement of a model, and `take` on its cursor.

        Raises:
            ToolError: it was refused or failed.
        """
        self._refuse(query)
        self._raw.set_progress_handler(
            lambda: call.cancelled or call.remaining_s <= 0, PROGRESS_STEPS
        )
        cursor = self._raw.cursor()
        self._authorizer.begin(mode)
        try:
            with call.cancelling(self._raw.interrupt):
                _patiently(lambda: cursor.execute(query, bound), call, self._is_open)
                if not self.seen and cursor.description is None:
                    raise ToolError(ErrorCode.QUERY_ERROR, "there is no statement in the text")
                return take(cursor)
        except (sqlite3.Error, sqlite3.Warning, MemoryError) as exc:
            denied = self._authorizer.denied
            raise translate(exc, call, denied=denied, hint=self._hint(mode)) from exc
        finally:
            cursor.close()
            self._authorizer.end()
            self._raw.set_progress_handler(None, 0)

    def clean(self) -> None:
        """Makes it as if nobody had used it.

        `last_insert_rowid()` and `changes()` answer from the connection's memory, so an insert and
        a delete of the driver overwrite it.
        """
        if self._raw.in_transaction:
            self._raw.execute("ROLLBACK")
        if self.kind == "write":
            table = f'temp."{self._site.token}clean"'
            insert = f"INSERT INTO {table}(rowid) VALUES (0)"  # noqa: S608 - the driver's own name
            delete = f"DELETE FROM {table} WHERE rowid = 0"  # noqa: S608
            for statement in (insert, delete, delete):
                self._raw.execute(statement)

    def close(self) -> None:
        """Closes it; SQLite rolls back what is open."""
        self._raw.close()

    def _is_open(self) -> bool:
        """Whether a failed statement may run again: never outside of its transaction."""
        return self._raw.in_transaction

    def _refuse(self, query: str) -> None:
        site = self._site
        filtered = bool(self._filtered)
        why = guards.forbidden(query, token=site.token, rules=site.rules, filtered=filtered)
        if why:
            raise ToolError(
                ErrorCode.PERMISSION_DENIED,
                f"prohibited: {why}",
                hint="write JOIN ... ON a.x = b.x, and pass text in params",
            )

    def _prepare(self) -> Authorizer:
        raw, site = self._raw, self._site
        for pragma in self._pragmas():
            raw.execute(f"PRAGMA {pragma}").fetchall()
        # Looked up once, so that SQLite does not ask for more than their use later.
        raw.execute("SELECT 1 FROM json_each('[]'), json_tree('[]')").fetchall()
        found = catalog.tables(raw)
        self._tables = [table for table in found if table.kind != "shadow"]
        implied = guards.shadow_rules(found, site.rules)
        rules = Rules(site.rules.default, {**site.rules.tables, **implied}, site.rules.owner)
        writable = self.kind == "write"
        self._filtered = guards.install(
            raw, rules, token=site.token, shared=site.shared, writable=writable
        )
        if writable:
            raw.execute(f'CREATE TEMP TABLE "{site.token}clean"(x)')
        authorizer = Authorizer(
            rules,
            token=site.token,
            modules=catalog.modules(raw),
            guarded=frozenset(fold(table.name) for table in found),
            filtered=self._filtered,
        )
        authorizer.close_views(guards.closed_views(raw, rules))
        for limit, value in LIMITS.items():
            raw.setlimit(limit, value)
        raw.set_authorizer(authorizer)
        return authorizer

    def _pragmas(self) -> list[str]:
        pragmas = [
            "foreign_keys=ON",
            "trusted_schema=OFF",
            "cell_size_check=ON",
            "temp_store=MEMORY",  # a sort that is too large ends with the worker's memory
            f"cache_size=-{CACHE_KB}",
            "mmap_size=0",
        ]
        # Without it, REPLACE fires no delete triggers. Compiled in as the default by some.
        replacing = guards.replaces_need_triggers(self._site.rules)
        pragmas.append(f"recursive_triggers={'ON' if replacing else 'OFF'}")
        if self._site.max_bytes:
            page = self._raw.execute("PRAGMA page_size").fetchone()[0]
            pragmas.append(f"max_page_count={max(1, self._site.max_bytes // page)}")
        return pragmas

    def _hint(self, mode: Mode) -> str:
        wrote = set(self._authorizer.seen) - {"SELECT"}
        if mode == "read" and wrote and self._site.rules.writable:
            return "use database_execute for what writes"
        return self._allowed()

    def _allowed(self) -> str:
        rules = self._site.rules
        if rules.owner:
            return "everything in this database is allowed but what leaves it"
        named = {table.name: rules.rule(table.name) for table in self._tables}
        words = [f"{name}: {rule.describe()}" for name, rule in named.items() if rule.verbs]
        more = f"; and {len(words) - 10} more" if len(words) > 10 else ""
        return f"allowed: {'; '.join(words[:10]) or 'nothing'}{more}"


def connect(path: Path, kind: Kind) -> sqlite3.Connection:
    """A bare connection, not yet restricted. It waits for a lock `OPEN_TIMEOUT_S` at most."""
    raw = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'rw' if kind == 'write' else 'ro'}",
        uri=True,
        timeout=OPEN_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        # A cached statement is not compiled again, so the authorizer would not be asked: the
        # model's COMMIT would be the driver's.
        cached_statements=0,
    )
    raw.text_factory = _text
    if hasattr(raw, "setconfig"):  # Python 3.12
        for name, on in (("DEFENSIVE", True), ("ENABLE_FTS3_TOKENIZER", False)):
            raw.setconfig(getattr(sqlite3, f"SQLITE_DBCONFIG_{name}"), on)  # pyright: ignore
    return raw


def _text(data: bytes) -> str | bytes:
    """Text as it is; what is no UTF-8, which SQLite stores without a word, as bytes."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _patiently(
    run: Callable[[], object], call: Call, may_repeat: Callable[[], bool] = lambda: True
) -> None:
    """Tries again while another connection holds the lock, until the call's time is over.

    SQLite's own wait cannot be interrupted.
    """
    while True:
        try:
            run()
            return
        except sqlite3.OperationalError as exc:
            over = call.cancelled or call.remaining_s <= 2 * BUSY_PAUSE_S
            if over or not is_busy(exc) or not may_repeat():
                raise
        time.sleep(BUSY_PAUSE_S)
