"""What `database_schema` shows of an SQLite file: only what the rules let the sandbox use.

Reads SQLite's own descriptions on a connection of its own. Not SQLAlchemy's reflection: that
replaces a declared type by one it knows, and leaves out indexes on expressions.
"""

import fnmatch
import sqlite3
from contextlib import closing
from typing import Any

from sandbox_sdk.databases.worker.driver import Call

from . import catalog
from .connection import PROGRESS_STEPS, Site, connect
from .rules import Rule, fold, quoted

COLUMN_VERBS = ("select", "insert", "update")


def schema_of(site: Site, call: Call, *, pattern: str, detail: str, limit: int) -> dict[str, Any]:
    """See `Driver.schema`.

    Raises:
        sqlite3.Error: the file cannot be read, or the call's time was over.
    """
    with closing(connect(site.path, "read")) as connection:
        connection.set_progress_handler(
            lambda: call.cancelled or call.remaining_s <= 0, PROGRESS_STEPS
        )
        with call.cancelling(connection.interrupt):
            found = [
                table
                for table in catalog.tables(connection)
                if table.kind != "shadow"
                and site.rules.rule(table.name).verbs
                and fnmatch.fnmatchcase(fold(table.name), fold(pattern))
            ]
            items = [_item(connection, site, table, detail) for table in found[:limit]]
    return {"items": items, "total": len(found), "truncated": len(found) > limit}


def _item(
    connection: sqlite3.Connection, site: Site, table: catalog.Table, detail: str
) -> dict[str, Any]:
    rule = site.rules.rule(table.name)
    item: dict[str, Any] = {
        "name": table.name,
        "kind": "view" if table.kind == "view" else "table",
        "verbs": rule.verbs,
        "rows_filtered": rule.rows is not None,
    }
    if detail != "names":
        item["columns"] = _columns(table, rule)
    if detail == "full":
        item["foreign_keys"] = _foreign_keys(connection, site, table)
        item["indexes"] = _indexes(connection, table, rule)
        hidden_rows = site.shared and rule.rows is not None
        if rule.select and table.kind != "view" and not hidden_rows:
            count = f"SELECT count(*) FROM main.{quoted(table.name)}"  # noqa: S608 - is quoted
            item["row_estimate"] = connection.execute(count).fetchone()[0]
    return item


def _columns(table: catalog.Table, rule: Rule) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for column in table.columns:
        verbs = [verb for verb in COLUMN_VERBS if _holds(rule, verb, column.name)]
        if not verbs:
            continue
        differs = verbs != [verb for verb in rule.verbs if verb != "delete"]
        items.append(
            {
                "name": column.name,
                "type": column.type,
                "nullable": column.nullable,
                "primary_key": column.key > 0,
                "verbs": verbs if differs else [],
            }
        )
    return items


def _holds(rule: Rule, verb: str, column: str) -> bool:
    columns = getattr(rule, verb)
    return columns if isinstance(columns, bool) else fold(column) in columns


def _shown(rule: Rule, columns: list[str]) -> bool:
    return all(any(_holds(rule, verb, column) for verb in COLUMN_VERBS) for column in columns)


def _foreign_keys(
    connection: sqlite3.Connection, site: Site, table: catalog.Table
) -> list[dict[str, Any]]:
    keys: dict[int, dict[str, Any]] = {}
    listed = connection.execute(f"PRAGMA main.foreign_key_list({quoted(table.name)})").fetchall()
    for identity, _, refers_to, column, refers_to_column, *_ in listed:
        key = keys.setdefault(
            identity, {"columns": [], "refers_to": refers_to, "refers_to_columns": []}
        )
        key["columns"].append(column)
        if refers_to_column is not None:
            key["refers_to_columns"].append(refers_to_column)
    rules = site.rules
    return [
        key
        for key in keys.values()
        if _shown(rules.rule(table.name), key["columns"])
        and rules.rule(key["refers_to"]).verbs
        and _shown(rules.rule(key["refers_to"]), key["refers_to_columns"])
    ]


def _indexes(
    connection: sqlite3.Connection, table: catalog.Table, rule: Rule
) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    listed = connection.execute(f"PRAGMA main.index_list({quoted(table.name)})").fetchall()
    for _, name, unique, *_ in sorted(listed, key=lambda each: each[1]):
        found = connection.execute(f"PRAGMA main.index_info({quoted(name)})").fetchall()
        columns = [column for _, _, column in found if column is not None]
        # One on an expression tells what is in it only to those who see every column.
        if _shown(rule, columns) and (len(columns) == len(found) or rule.select is True):
            items.append({"name": name, "columns": columns, "unique": bool(unique)})
    return items
