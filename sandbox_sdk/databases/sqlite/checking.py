"""Refuses access rules SQLite cannot enforce, or that name what is not in the database."""

import difflib
import sqlite3
from collections.abc import Iterable
from typing import Any

from sandbox_sdk.databases.access import VERBS, Access, Database
from tool_plugins.errors import ConfigurationError

from . import catalog
from .functions import FUNCTIONS, VOLATILE
from .rules import Rule, Rules, fold
from .template import check_expression

MIN_VERSION = (3, 37, 0)
MAIN = "main"


def compile_rules(access: Access) -> dict[str, Any]:
    """The rules as `Rules.of` reads them. SQLite's one schema is "main"."""

    def plain(table: str | None) -> dict[str, Any]:
        rule = access.rule(table or "", schema=MAIN)
        return {verb: _plain(rule.columns(verb)) for verb in VERBS} | {"rows": rule.rows}

    tables = {_bare(name): plain(_bare(name)) for name in access.tables}
    return {"default": plain(None), "tables": tables, "owner": access.default == "owner"}


def check_database(database: Database) -> None:
    """What can be said without looking into the file.

    Raises:
        ConfigurationError: names the rule and why it cannot be enforced.
    """
    name, access = database.name, database.access
    if sqlite3.sqlite_version_info < MIN_VERSION:
        wanted = ".".join(map(str, MIN_VERSION))
        raise ConfigurationError(f"SQLite {sqlite3.sqlite_version} is older than {wanted}")
    if foreign := [each for each in access.schemas if fold(each) != MAIN]:
        raise _refused(name, f"schema {foreign[0]!r}", "SQLite's only schema is 'main'")
    for table in access.tables:
        if fold(table).startswith("sqlite_"):
            raise _refused(name, f"table {table!r}", "SQLite's own tables are for nobody")
        rule = access.rule(_bare(table), schema=MAIN)
        writes = rule.insert or rule.update or rule.delete
        if rule.rows is not None and writes and database.isolation == "shared":
            raise _refused(
                name,
                f"table {table!r}: rows with insert, update or delete",
                "SQLite cannot restrict writes by row in a shared file; use isolation='copy' or "
                "leave the writes out",
            )
    if database.expose:
        _check_exposure(database)


def check_rules(connection: sqlite3.Connection, name: str, rules: Rules) -> None:
    """Compares rules with what is in the database. `connection` has no authorizer.

    Raises:
        ConfigurationError: names the rule and why it cannot be enforced.
    """
    tables = {fold(table.name): table for table in catalog.tables(connection)}
    for folded, rule in rules.tables.items():
        table = tables.get(folded)
        if table is None:
            raise _refused(name, f"table {folded!r}", f"there is none{_near(folded, tables)}")
        _check_columns(name, table, rule)
        if table.kind != "table":
            _check_kind(name, table, rule)
        elif isinstance(rule.insert, frozenset):
            _check_defaults(connection, name, table, rule.insert)
        if rule.rows is not None:
            try:
                check_expression(connection, table.name, rule.rows)
            except (sqlite3.Error, sqlite3.Warning) as exc:
                raise _refused(name, f"rows of table {table.name!r}", str(exc)) from exc


def _check_exposure(database: Database) -> None:
    if database.isolation == "shared":
        raise _refused(
            database.name, "expose", "a shared file would be open to every program as a whole"
        )
    if database.access.tables or database.access.schemas:
        raise _refused(
            database.name,
            "expose",
            "who reads the file itself meets no rules for tables; give one level for all of it",
        )


def _check_columns(name: str, table: catalog.Table, rule: Rule) -> None:
    known = {fold(column.name) for column in table.columns}
    for verb in ("select", "insert", "update"):
        columns = getattr(rule, verb)
        for column in sorted(columns) if isinstance(columns, frozenset) else ():
            if column not in known:
                where = f"column {column!r} of table {table.name!r}"
                raise _refused(name, where, f"there is none{_near(column, known)}")


def _check_kind(name: str, table: catalog.Table, rule: Rule) -> None:
    """Triggers and conditions need an ordinary table; a search sees every column."""
    narrow = [verb for verb in ("select", "insert", "update") if _narrow(rule, verb)]
    if table.kind == "view":
        narrow = [verb for verb in narrow if verb == "insert"]
    if narrow or rule.rows is not None:
        what = f"{narrow[0]} of some columns" if narrow else "rows"
        kind = f"a {table.kind}" if table.kind == "view" else f"a {table.kind} table"
        raise _refused(name, f"{what} of {table.name!r}", f"SQLite cannot enforce it on {kind}")


def _check_defaults(
    connection: sqlite3.Connection, name: str, table: catalog.Table, allowed: frozenset[str]
) -> None:
    for column in table.columns:
        if fold(column.name) in allowed or column.generated or column.default is None:
            continue
        try:
            called = catalog.functions_in(connection, column.default)
            catalog.stored_default(connection, column)
        except sqlite3.Error as exc:
            what = f"insert of some columns of {table.name!r}"
            raise _refused(name, what, f"the default of {column.name!r}: {exc}") from exc
        if bad := sorted((called & VOLATILE) | (called - FUNCTIONS)):
            raise _refused(
                name,
                f"insert of some columns of {table.name!r}",
                f"the default of {column.name!r} calls {bad[0]}(), so SQLite cannot tell whether "
                "a row was given another value",
            )


def _narrow(rule: Rule, verb: str) -> bool:
    return isinstance(getattr(rule, verb), frozenset)


def _bare(table: str) -> str:
    """The table's name without SQLite's only schema."""
    return table[len(MAIN) + 1 :] if fold(table).startswith(f"{MAIN}.") else table


def _plain(columns: bool | tuple[str, ...]) -> bool | list[str]:
    return columns if isinstance(columns, bool) else list(columns)


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _refused(database: str, what: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"database {database!r}: {what}: {why}")
