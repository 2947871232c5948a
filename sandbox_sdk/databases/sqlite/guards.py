"""TEMP triggers and views of a connection that enforce what the authorizer is not asked about.

    insert of some columns   BEFORE INSERT: the others must have their default
    insert, no delete        BEFORE DELETE: INSERT OR REPLACE would delete rows without being asked
    rows, in a copy          AFTER INSERT, AFTER UPDATE: the row must fulfil the condition
    rows, in a shared file   a TEMP view in front of the table that shows only such rows
    any insert               BEFORE INSERT that does nothing: without a trigger, SQLite runs INSERT
                             INTO a SELECT * FROM b as a block copy and never asks about b

SQLite does not ask about columns joined by NATURAL or USING either, so whoever may not read
everything may not use these words at all (`forbidden`).

Names of guards begin with a token that statements must not contain, so that a model can neither
name one nor pass a CTE off as one.
"""

# ruff: noqa: S608 - names are quoted, and conditions are the operator's

import re
import sqlite3
from collections.abc import Iterator

from .catalog import Table, TableColumn, functions_in, sources, stored_default, tables
from .functions import TIME_FUNCTIONS
from .rules import Rule, Rules, fold, literal, quoted

# A keyword cannot be written other than in these letters, and is not part of a longer word. What
# stands beside it is not looked at further, so text that only contains the word is refused too.
_UNCHECKED_JOIN = re.compile(r"(?<![a-z_])(natural|using)(?![a-z0-9_])", re.IGNORECASE | re.ASCII)
_MAIN = re.compile("main", re.IGNORECASE)


def forbidden(query: str, *, token: str, rules: Rules, filtered: bool) -> str:
    """Why the text of a statement is refused before it is compiled; "" if it is not."""
    if token in query:
        return "the statement names an internal object"
    if not rules.reads_all and (word := _UNCHECKED_JOIN.search(query)):
        return (
            f"the word {word[0]!r} may not occur where columns or tables are withheld: "
            "SQLite does not check them in such joins"
        )
    if filtered and (word := _MAIN.search(query)):
        return f"{word[0]!r} may not occur where rows are withheld"
    return ""


def closed_views(connection: sqlite3.Connection, rules: Rules) -> frozenset[str]:
    """Views and triggers whose own text joins in a way that is not checked."""
    if rules.reads_all:
        return frozenset()
    found = sources(connection)
    return frozenset(fold(name) for name, text in found.items() if _UNCHECKED_JOIN.search(text))


def shadow_rules(found: list[Table], rules: Rules) -> dict[str, Rule]:
    """Rules for the tables in which full text search keeps what is in a virtual table."""
    implied: dict[str, Rule] = {}
    for virtual in (table for table in found if table.kind == "virtual"):
        rule = rules.rule(virtual.name)
        if rule.select is not True:
            continue
        writes = bool(rule.insert and rule.update and rule.delete)
        prefix = fold(virtual.name) + "_"
        for table in found:
            name = fold(table.name)
            if table.kind == "shadow" and name.startswith(prefix) and name not in rules.tables:
                implied[name] = Rule(True, writes, writes, writes)
    return implied


def install(
    connection: sqlite3.Connection, rules: Rules, *, token: str, shared: bool, writable: bool
) -> frozenset[str]:
    """Makes the guards of a connection; the folded names of tables behind a view."""
    filtered: set[str] = set()
    number = 0
    for table in tables(connection):
        rule = rules.rule(table.name)
        if shared and rule.rows is not None and rule.select:
            _install_view(connection, table, rule, f"{token}v{len(filtered)}")
            filtered.add(fold(table.name))
        if not writable or rules.owner or table.kind != "table":
            continue
        for event, condition, message in _checks(connection, table, rule, rules):
            number += 1
            connection.execute(
                f"CREATE TEMP TRIGGER {quoted(f'{token}t{number}')} {event} ON "
                f"main.{quoted(table.name)} WHEN {condition} BEGIN "
                f"SELECT RAISE(ABORT, {literal('prohibited: ' + message)}); END"
            )
    return frozenset(filtered)


def replaces_need_triggers(rules: Rules) -> bool:
    """Whether rows could be replaced by someone who may not delete them."""
    every = (rules.default, *rules.tables.values())
    return any((rule.insert or rule.update) and not rule.delete for rule in every)


def _checks(
    connection: sqlite3.Connection, table: Table, rule: Rule, rules: Rules
) -> Iterator[tuple[str, str, str]]:
    """Event, condition and message of each trigger."""
    if rule.insert and not rules.reads_all:
        yield "BEFORE INSERT", "0", "never"
    if (rule.insert or rule.update) and not rule.delete:
        yield "BEFORE DELETE", "1", f"this would delete rows of {table.name}"
    if isinstance(rule.insert, frozenset):
        yield from _insert_checks(connection, table, rule.insert)
    if rule.rows is not None:
        own = " AND ".join(f"{quoted(name)} IS NEW.{quoted(name)}" for name in table.key)
        outside = (
            f"NOT EXISTS (SELECT 1 FROM main.{quoted(table.name)} WHERE {own} AND ({rule.rows}\n))"
        )
        for event, verb in (("AFTER INSERT", rule.insert), ("AFTER UPDATE", rule.update)):
            if verb:
                yield event, outside, f"the row is outside of those allowed in {table.name}"


def _insert_checks(
    connection: sqlite3.Connection, table: Table, allowed: frozenset[str]
) -> Iterator[tuple[str, str, str]]:
    number = table.row_number_column
    for column in table.columns:
        if fold(column.name) in allowed or column.generated or column.name == number:
            continue
        message = f"inserting into column {column.name} of {table.name} is not allowed"
        yield "BEFORE INSERT", _differs(connection, column), message
    if (number is None or fold(number) not in allowed) and (rowid := table.rowid) is not None:
        # Before the insert an unset row number is -1, and after it the one that was chosen.
        message = f"inserting into column {number or rowid} of {table.name} is not allowed"
        yield "BEFORE INSERT", f"NEW.{rowid} IS NOT -1", message
        yield "AFTER INSERT", f"NEW.{rowid} IS -1", message


def _differs(connection: sqlite3.Connection, column: TableColumn) -> str:
    """Whether the new row has something else than the default; without regard to collation."""
    new = f"NEW.{quoted(column.name)}"
    default = column.default or "NULL"
    if functions_in(connection, default) & TIME_FUNCTIONS:
        default = f"({default})"  # one statement has one "now"
    else:
        default = stored_default(connection, column)
    return (
        f"({new} IS NOT {default} OR typeof({new}) = 'text' AND hex({new}) IS NOT hex({default}))"
    )


def _install_view(connection: sqlite3.Connection, table: Table, rule: Rule, inner: str) -> None:
    """Puts a view in front of a table. The inner one's name is what lets it read the table.

    LIMIT keeps SQLite from moving a statement's conditions in front of the view's own, where an
    error in them would tell about rows that are not shown.
    """
    names = [
        quoted(column.name)
        for column in table.columns
        if rule.select is True or (rule.select and fold(column.name) in rule.select)
    ]
    shown = ", ".join(names)
    connection.execute(
        f"CREATE TEMP VIEW {quoted(inner)} AS SELECT {shown} FROM main.{quoted(table.name)} "
        f"WHERE ({rule.rows}\n) LIMIT -1"
    )
    connection.execute(
        f"CREATE TEMP VIEW {quoted(table.name)} AS SELECT {shown} FROM temp.{quoted(inner)}"
    )
