"""Tells SQLite what a statement may do, while SQLite compiles it. Denies what it does not know.

SQLite asks about every table, column, function and command it meets, wherever in the statement:
in WHERE, ORDER BY, a subquery, a view, a trigger, RETURNING. A view or trigger gives no rights its
reader lacks. The fifth value SQLite hands over names the view or trigger, but also a CTE of the
statement, which the model names; so it means something only for `guards`, whose names contain a
token that no statement may contain.
"""

import sqlite3
from collections.abc import Set as AbstractSet
from typing import Literal

from .functions import (
    FUNCTIONS,
    OWNER_FUNCTIONS,
    OWNER_MODULES,
    OWNER_PRAGMAS,
    PRAGMAS_WITH_ARGUMENT,
    TABLE_FUNCTIONS,
)
from .rules import Rule, Rules, fold

Mode = Literal["trusted", "read", "write"]

OK = sqlite3.SQLITE_OK
DENY = sqlite3.SQLITE_DENY
_SCHEMA_TABLES = frozenset({"sqlite_master", "sqlite_schema"})
_OWNER_SYSTEM_TABLES = frozenset({*_SCHEMA_TABLES, "sqlite_temp_master", "sqlite_sequence"})
_DECLARED = frozenset({"type", "name", "tbl_name", "rootpage", "sql"})
_VERBS = {
    sqlite3.SQLITE_INSERT: "insert",
    sqlite3.SQLITE_UPDATE: "update",
    sqlite3.SQLITE_DELETE: "delete",
}
_DEFINITIONS = {
    sqlite3.SQLITE_CREATE_TABLE: "CREATE TABLE",
    sqlite3.SQLITE_CREATE_INDEX: "CREATE INDEX",
    sqlite3.SQLITE_CREATE_VIEW: "CREATE VIEW",
    sqlite3.SQLITE_CREATE_TRIGGER: "CREATE TRIGGER",
    sqlite3.SQLITE_CREATE_VTABLE: "CREATE TABLE",
    sqlite3.SQLITE_DROP_TABLE: "DROP TABLE",
    sqlite3.SQLITE_DROP_INDEX: "DROP INDEX",
    sqlite3.SQLITE_DROP_VIEW: "DROP VIEW",
    sqlite3.SQLITE_DROP_TRIGGER: "DROP TRIGGER",
    sqlite3.SQLITE_DROP_VTABLE: "DROP TABLE",
    sqlite3.SQLITE_ALTER_TABLE: "ALTER TABLE",
    sqlite3.SQLITE_REINDEX: "REINDEX",
    sqlite3.SQLITE_ANALYZE: "ANALYZE",
}
_NAMES = {
    sqlite3.SQLITE_TRANSACTION: "{a} is not a statement here",
    sqlite3.SQLITE_SAVEPOINT: "SAVEPOINT and RELEASE are not statements here",
    sqlite3.SQLITE_ATTACH: "ATTACH and VACUUM are not allowed",
    sqlite3.SQLITE_DETACH: "DETACH is not allowed",
    sqlite3.SQLITE_PRAGMA: "PRAGMA {a} is not allowed",
    sqlite3.SQLITE_FUNCTION: "the function {b} is not allowed",
    sqlite3.SQLITE_READ: "column {b} of {a} may not be read",
    sqlite3.SQLITE_INSERT: "inserting into {a} is not allowed",
    sqlite3.SQLITE_UPDATE: "column {b} of {a} may not be updated",
    sqlite3.SQLITE_DELETE: "deleting from {a} is not allowed",
    sqlite3.SQLITE_CREATE_VTABLE: "the module {b} is not allowed",
}
_WHOLE = "{a} may not be read"


class Authorizer:
    """The callback of one connection. `mode` is what the statement in hand may do at most.

    In mode "trusted" the driver's own statements run; a statement of a model never does.
    `guarded` are the tables there were when the guards were made, and only these are written;
    `filtered` are those whose rows are read through a guard's view alone. Names are folded.
    """

    def __init__(
        self,
        rules: Rules,
        *,
        token: str,
        modules: AbstractSet[str],
        guarded: AbstractSet[str],
        filtered: AbstractSet[str],
    ) -> None:
        self.mode: Mode = "trusted"
        self.denied: str = ""
        self.seen: list[str] = []
        self._rules = rules
        self._token = token
        self._modules = modules
        self._guarded = guarded
        self._filtered = filtered
        self._closed_views: AbstractSet[str] = frozenset()

    def close_views(self, names: AbstractSet[str]) -> None:
        """Refuses these views and triggers, whatever the rules say."""
        self._closed_views = names

    def begin(self, mode: Mode) -> None:
        """Before a statement of a model is compiled."""
        self.mode, self.denied, self.seen = mode, "", []

    def end(self) -> None:
        """After it ran."""
        self.mode = "trusted"

    def __call__(
        self, action: int, a: str | None, b: str | None, db: str | None, context: str | None
    ) -> int:
        """SQLite's question; see its documentation of `sqlite3_set_authorizer`."""
        if self.mode == "trusted":
            return OK
        self._note(action, context)
        if self._allows(action, a or "", b or "", db, context or ""):
            return OK
        if not self.denied:
            default = "this command is not allowed"
            words = _NAMES.get(action, default) if action != sqlite3.SQLITE_READ or b else _WHOLE
            self.denied = words.format(a=a or "", b=b or "")
        return DENY

    def _note(self, action: int, context: str | None) -> None:
        if context is None:
            self.seen.append(_DEFINITIONS.get(action) or _VERBS.get(action, "select").upper())

    def _allows(self, action: int, a: str, b: str, db: str | None, context: str) -> bool:
        guard = context.startswith(self._token)
        if fold(context) in self._closed_views and not guard:
            return False
        if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE):
            return True
        if action == sqlite3.SQLITE_FUNCTION:
            name = b.lower()
            return name in FUNCTIONS or (self._rules.owner and name in OWNER_FUNCTIONS)
        if action == sqlite3.SQLITE_READ:
            return guard or self._may_read(fold(a), fold(b), db)
        if action in _VERBS:
            return self._may_write(action, fold(a), fold(b), db)
        if action == sqlite3.SQLITE_PRAGMA:
            return self._may_ask(a.lower(), b)
        return self._rules.owner and self._may_define(action, a, b, db)

    def _may_read(self, table: str, column: str, db: str | None) -> bool:
        if table.startswith(self._token):
            return True  # a guard's view; only another guard's can name it
        rule = self._rule(table)
        if rule is None:
            return self._may_read_system(table, column)
        if db == "main" and table in self._filtered:
            return False
        if column == "":
            return bool(rule.select)
        return rule.select is True or (rule.select is not False and column in rule.select)

    def _may_read_system(self, table: str, column: str) -> bool:
        if table in TABLE_FUNCTIONS:
            return True
        if self._rules.owner:
            pragma = table.removeprefix("pragma_")
            return (
                table in _OWNER_SYSTEM_TABLES
                or (pragma != table and pragma in OWNER_PRAGMAS)
                or table.startswith("sqlite_stat")
            )
        # Asked when a virtual table is first used in a connection.
        return table in _SCHEMA_TABLES and column == "rowid"

    def _may_write(self, action: int, table: str, column: str, db: str | None) -> bool:
        if table in _SCHEMA_TABLES and action == sqlite3.SQLITE_UPDATE and column in _DECLARED:
            # Asked when a virtual table is first used. SQLite itself lets no statement do it.
            return True
        if self.mode != "write":
            return False
        rule = self._rule(table)
        if rule is None:
            owned = table in _OWNER_SYSTEM_TABLES or table.startswith("sqlite_stat")
            return self._rules.owner and owned
        if db != "main" or not (self._rules.owner or table in self._guarded):
            return False
        if action == sqlite3.SQLITE_INSERT:
            return bool(rule.insert)
        if action == sqlite3.SQLITE_DELETE:
            return rule.delete
        return rule.update is True or (rule.update is not False and column in rule.update)

    def _may_ask(self, pragma: str, argument: str) -> bool:
        if pragma == "data_version" and not argument:
            return True  # full text search asks it
        if not self._rules.owner or pragma not in OWNER_PRAGMAS:
            return False
        if pragma in ("user_version", "application_id") and argument:
            return self.mode == "write"
        return not argument or pragma in PRAGMAS_WITH_ARGUMENT

    def _may_define(self, action: int, a: str, b: str, db: str | None) -> bool:
        if self.mode != "write" or action not in _DEFINITIONS:
            return False
        if action == sqlite3.SQLITE_ALTER_TABLE:
            return a == "main"
        if action in (sqlite3.SQLITE_CREATE_VTABLE, sqlite3.SQLITE_DROP_VTABLE):
            return db == "main" and b.lower() in OWNER_MODULES
        return db == "main"

    def _rule(self, table: str) -> Rule | None:
        """The rule of an ordinary table; None for SQLite's own and for tables of its modules."""
        if table.startswith(("sqlite_", "pragma_")) or table in self._modules:
            return None
        return self._rules.rule(table)
