"""The database of a template while it is being filled.

Scripts run as the operator sends them to `psql`: whole, in one go. Rows go in by COPY as text, so
that each column's own type reads its values and a bad one is named with its row.
"""

import re
from array import array
from collections.abc import Iterator

import psycopg
from psycopg import errors, generators, pq, sql

from sandbox_sdk.databases.population.contents import PopulationError, Row, Script
from sandbox_sdk.databases.population.seeding import SqlTarget

from .admin import Connection, raw, reason
from .literals import Type, as_text
from .splitting import starts

FAILED_ROW = re.compile(r"^COPY .*, line (\d+)", re.MULTILINE)

TABLES = """
SELECT n.nspname::text, c.relname::text,
       ARRAY(SELECT DISTINCT ARRAY[m.nspname, r.relname]::text[] FROM pg_constraint k
             JOIN pg_class r ON r.oid = k.confrelid JOIN pg_namespace m ON m.oid = r.relnamespace
             WHERE k.conrelid = c.oid AND k.contype = 'f')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'f') AND n.nspname !~ '^(pg_|information_schema$)'
"""

COLUMNS = """
SELECT a.attname::text, t.typname::text, t.typcategory::text,
       coalesce(e.typname, b.typname, '')::text
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_type b ON t.typtype = 'd' AND b.oid = t.typbasetype
LEFT JOIN pg_type e ON t.typcategory = 'A' AND e.oid = coalesce(b.typelem, t.typelem)
WHERE a.attrelid = (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                    WHERE n.nspname = %s AND c.relname = %s)
      AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
ORDER BY a.attnum
"""


class PostgresTarget(SqlTarget):
    """Fills the database a connection is to. The connection is in autocommit."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._tables: dict[str, tuple[str, str]] = {}
        self._types: dict[str, dict[str, Type]] = {}

    def run(self, script: Script) -> None:
        """Runs a script, and forgets what it set for its session."""
        self._types.clear()
        if "\0" in script.text:
            raise PopulationError(script.file, script.line, "a script contains a NUL character")
        connection = self._connection
        try:
            with connection.lock:
                connection.pgconn.send_query(script.text.encode())
                results = connection.wait(generators.execute(connection.pgconn))
        except psycopg.OperationalError as exc:
            raise PopulationError(script.file, script.line, reason(exc)) from exc
        _check(script, results)
        if connection.info.transaction_status != pq.TransactionStatus.IDLE:
            raise PopulationError(
                script.file, script.line, "the script leaves a transaction open", hint="add COMMIT;"
            )
        connection.execute("RESET SESSION AUTHORIZATION")
        connection.execute("RESET ALL")

    def canonical(self, table: str) -> str:
        """A table of schema "public" by its name alone, any other one with its schema."""
        self._look()
        if table in self._tables:
            return table
        schema, _, name = table.rpartition(".")
        if schema == "public":
            return name
        having = [each for each, (_, short) in self._tables.items() if short == table]
        return having[0] if len(having) == 1 else table

    def dependencies(self) -> dict[str, set[str]]:
        """Tables, and views, which can be filled where they are simple."""
        self._tables.clear()
        return self._look()

    def columns(self, table: str) -> tuple[str, ...]:
        """Generated columns take no values and are left out."""
        return tuple(self._columns(table))

    def insert(self, table: str, columns: tuple[str, ...], rows: Iterator[Row]) -> int:
        """One COPY."""
        types = self._columns(table)
        chosen = [types[column] for column in columns]
        statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
            sql.Identifier(*self._tables[table]),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
        )
        taken = _Taken()
        try:
            with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
                for row in rows:
                    taken.add(row)
                    values = [row.values[column] for column in columns]
                    copy.write_row([as_text(v, t) for v, t in zip(values, chosen, strict=True)])
        except (psycopg.Error, ValueError) as exc:
            if isinstance(exc, PopulationError) or taken.row is None:
                raise
            raise taken.error(exc, table) from exc
        return taken.count

    def _look(self) -> dict[str, set[str]]:
        rows = self._connection.execute(raw(TABLES)).fetchall()
        self._tables = {_title(schema, name): (schema, name) for schema, name, _ in rows}
        return {
            _title(schema, name): {_title(*each) for each in refers}
            for schema, name, refers in rows
        }

    def _columns(self, table: str) -> dict[str, Type]:
        if table not in self._types:
            if table not in self._tables:
                self._look()
            place = self._tables[table]
            rows = self._connection.execute(raw(COLUMNS), list(place)).fetchall()
            self._types[table] = {
                name: Type(base or own if category != "A" else own, category == "A", base)
                for name, own, category, base in rows
            }
        return self._types[table]


class _Taken:
    """The rows of one COPY, as far as an error must name one of them."""

    def __init__(self) -> None:
        self.row: Row | None = None
        self._lines = array("Q")

    @property
    def count(self) -> int:
        return len(self._lines)

    def add(self, row: Row) -> None:
        self.row = row
        self._lines.append(row.line)

    def error(self, exc: Exception, table: str) -> PopulationError:
        """With the line of the row at fault, where that is known."""
        if self.row is None:
            raise AssertionError("an error of a row needs one")
        if not isinstance(exc, psycopg.Error) or exc.sqlstate is None:
            # The row could not even be sent.
            text = reason(exc) if isinstance(exc, psycopg.Error) else str(exc)
            return PopulationError(self.row.file, self.row.line, f"table {table!r}: {text}")
        found = FAILED_ROW.search(exc.diag.context or "")
        line = self._lines[int(found[1]) - 1] if found and int(found[1]) <= self.count else None
        column = f", column {exc.diag.column_name!r}" if exc.diag.column_name else ""
        return PopulationError(
            self.row.file,
            line,
            f"table {table!r}{column}: {reason(exc)}",
            hint=exc.diag.message_detail or "",
        )


def _check(script: Script, results: list[pq.abc.PGresult]) -> None:
    """Raises for the first statement that failed, with its line."""
    for index, result in enumerate(results):
        if result.status == pq.ExecStatus.COPY_IN:
            raise PopulationError(
                script.file,
                _line_of(script, index),
                "COPY FROM STDIN has no input in a script",
                hint="use a fixture, or INSERT (pg_dump --inserts writes that)",
            )
        if result.status == pq.ExecStatus.FATAL_ERROR:
            error = errors.lookup(_field(result, pq.DiagnosticField.SQLSTATE) or "XX000")
            raise _script_error(script, index, result) from error(result.get_error_message())


def _script_error(script: Script, index: int, result: pq.abc.PGresult) -> PopulationError:
    message = _field(result, pq.DiagnosticField.MESSAGE_PRIMARY) or "it failed"
    position = _field(result, pq.DiagnosticField.STATEMENT_POSITION)
    detail = _field(result, pq.DiagnosticField.MESSAGE_DETAIL)
    hint = _field(result, pq.DiagnosticField.MESSAGE_HINT) or detail or ""
    if position is not None:
        line = script.line + script.text.count("\n", 0, int(position) - 1)
    else:
        line = _line_of(script, index)
    if r"\"" in message:
        hint = r"commands of psql, which begin with \, are not SQL"
    return PopulationError(script.file, line, message, hint=hint)


def _line_of(script: Script, index: int) -> int:
    """Where a statement begins, by its place among those that were run."""
    begins = starts(script.text)
    offset = begins[index] if index < len(begins) else 0
    return script.line + script.text.count("\n", 0, offset)


def _field(result: pq.abc.PGresult, name: pq.DiagnosticField) -> str | None:
    value = result.error_field(name)
    return value.decode(errors="replace") if value is not None else None


def _title(schema: str, name: str) -> str:
    return name if schema == "public" else f"{schema}.{name}"
