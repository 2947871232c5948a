"""What the restricted role may use of its database, and nothing else.

Straight from the catalog: SQLAlchemy's reflection asks for names and columns as anybody may see
them, table by table or all at once, and knows neither privileges nor policies. Here the server's
own `has_..._privilege` filter every row, in two round trips whatever the number of tables.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from psycopg import pq

from sandbox_sdk.databases.worker.driver import Call

from .errors import failed, in_call, statement_error
from .rows import Types
from .session import Session

KINDS = {"r": "table", "p": "table", "f": "table", "v": "view", "m": "view"}
VERBS = ("select", "insert", "update", "delete")

# Row security can be switched on and let everything through, so the policies are looked at.
ITEMS = """
WITH policies AS (
  SELECT polrelid, polpermissive, polcmd, pg_catalog.pg_get_expr(polqual, polrelid) AS condition
  FROM pg_catalog.pg_policy
  WHERE EXISTS (SELECT FROM unnest(polroles) AS r (role)
                WHERE r.role = 0 OR pg_catalog.pg_has_role(r.role, 'MEMBER'))
)
SELECT c.oid, n.nspname, c.relname, c.relkind, c.reltuples::bigint,
       pg_catalog.row_security_active(c.oid) AND (
         NOT EXISTS (SELECT FROM policies p WHERE p.polrelid = c.oid AND p.polpermissive
                     AND p.polcmd IN ('r', '*') AND p.condition = 'true')
         OR EXISTS (SELECT FROM policies p WHERE p.polrelid = c.oid AND NOT p.polpermissive
                    AND p.condition <> 'true')),
       pg_catalog.has_any_column_privilege(c.oid, 'SELECT'),
       pg_catalog.has_any_column_privilege(c.oid, 'INSERT'),
       pg_catalog.has_any_column_privilege(c.oid, 'UPDATE'),
       pg_catalog.has_table_privilege(c.oid, 'DELETE'),
       count(*) OVER ()
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm')
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
  AND (pg_catalog.has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE')
       OR pg_catalog.has_table_privilege(c.oid, 'DELETE'))
  AND ((n.nspname = 'public' AND c.relname ILIKE $1) OR n.nspname || '.' || c.relname ILIKE $1)
ORDER BY n.nspname <> 'public', n.nspname, c.relname
LIMIT $2
"""

COLUMNS = """
SELECT a.attrelid, a.attname, a.atttypid, pg_catalog.format_type(a.atttypid, a.atttypmod),
       a.attnotnull,
       EXISTS (SELECT FROM pg_catalog.pg_index i
               WHERE i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = ANY (i.indkey)),
       pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT'),
       pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'INSERT'),
       pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'UPDATE')
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
  AND pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT, INSERT, UPDATE')
ORDER BY a.attrelid, a.attnum
"""

# One row per column. A key with a column the role may not use is left out as a whole.
FOREIGN_KEYS = """
SELECT k.conrelid, k.conname, n.nspname, c.relname, a.attname, f.attname
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.confrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL unnest(k.conkey, k.confkey) WITH ORDINALITY AS u (own, other, place)
JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.own
JOIN pg_catalog.pg_attribute f ON f.attrelid = k.confrelid AND f.attnum = u.other
WHERE k.conrelid = ANY ($1::oid[]) AND k.contype = 'f'
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
  AND NOT EXISTS (
    SELECT FROM unnest(k.conkey, k.confkey) AS v (own, other)
    WHERE NOT pg_catalog.has_column_privilege(k.conrelid, v.own, 'SELECT, INSERT, UPDATE')
       OR NOT pg_catalog.has_column_privilege(k.confrelid, v.other, 'SELECT, INSERT, UPDATE'))
ORDER BY k.conrelid, k.conname, u.place
"""

# An expression (column 0) may name any column, so it takes the right to read them all.
INDEXES = """
SELECT i.indrelid, c.relname, i.indisunique, pg_catalog.pg_get_indexdef(c.oid, p.place::int, true)
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
CROSS JOIN LATERAL generate_series(1, i.indnkeyatts) AS p (place)
WHERE i.indrelid = ANY ($1::oid[]) AND i.indislive
  AND NOT EXISTS (
    SELECT FROM unnest(i.indkey) AS v (number)
    WHERE CASE WHEN v.number = 0
      THEN NOT pg_catalog.has_table_privilege(i.indrelid, 'SELECT')
      ELSE NOT pg_catalog.has_column_privilege(i.indrelid, v.number, 'SELECT, INSERT, UPDATE')
    END)
ORDER BY i.indrelid, c.relname, p.place
"""


def read_schema(
    session: Session, types: Types, call: Call, *, pattern: str, detail: str, limit: int
) -> dict[str, Any]:
    """`items`, `total` and `truncated` of a `SchemaResult`. A transaction is open.

    Raises:
        ToolError: TIMEOUT.
        ConnectionLostError: see `Session.exchange`.
    """
    (found,) = _ask(session, call, [ITEMS], [_like(pattern), str(limit)])
    items: dict[str, dict[str, Any]] = {}
    total = 0
    for row in _rows(found):
        oid, schema, name, kind, estimate, filtered, *allowed, total_text = row
        total = int(total_text)
        rows_filtered = filtered == "t"
        items[oid] = {
            "name": _shown(schema, name),
            "kind": KINDS[kind],
            "verbs": _verbs(allowed),
            "rows_filtered": rows_filtered,
        }
        # The size of a table of which it sees a part is not the role's to know.
        if detail == "full" and kind in "rp" and not rows_filtered and int(estimate) >= 0:
            items[oid]["row_estimate"] = int(estimate)
    if items and detail != "names":
        _add_details(session, types, call, items, full=detail == "full")
    return {"items": list(items.values()), "total": total, "truncated": total > len(items)}


def _add_details(
    session: Session, types: Types, call: Call, items: dict[str, dict[str, Any]], *, full: bool
) -> None:
    queries = [COLUMNS, FOREIGN_KEYS, INDEXES] if full else [COLUMNS]
    columns, *others = _ask(session, call, queries, ["{" + ",".join(items) + "}"])
    missing = {int(row[2]) for row in _rows(columns)}
    if not types.knows(list(missing)):
        types.read(session, list(missing))
    for oid, *column in _rows(columns):
        item = items[oid]
        item.setdefault("columns", []).append(_column(item, types, column))
    if full:
        _add_keys(items, *others)


def _column(item: dict[str, Any], types: Types, row: Sequence[str]) -> dict[str, Any]:
    name, type_oid, formatted, not_null, primary, *allowed = row
    modifier = formatted[formatted.find("(") : formatted.rfind(")") + 1]
    column: dict[str, Any] = {
        "name": name,
        "type": _with_modifier(types.name(int(type_oid)), modifier),
        "nullable": not_null == "f",
        "primary_key": primary == "t",
    }
    verbs = _verbs(allowed)
    if verbs != [verb for verb in item["verbs"] if verb != "delete"]:
        column["verbs"] = verbs
    return column


def _with_modifier(name: str, modifier: str) -> str:
    """ "numeric" and "(10,2)" as "numeric(10,2)", "varchar[]" and "(9)" as "varchar(9)[]"."""
    base = name.removesuffix("[]")
    return f"{base}{modifier}{name[len(base) :]}"


def _add_keys(
    items: dict[str, dict[str, Any]], keys: pq.abc.PGresult, indexes: pq.abc.PGresult
) -> None:
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for oid, name, schema, table, own, other in _rows(keys):
        new = {"columns": [], "refers_to": _shown(schema, table), "refers_to_columns": []}
        if (oid, name) not in found:
            items[oid].setdefault("foreign_keys", []).append(new)
        key = found.setdefault((oid, name), new)
        key["columns"].append(own)
        key["refers_to_columns"].append(other)
    found.clear()
    for oid, name, unique, column in _rows(indexes):
        new = {"name": name, "columns": [], "unique": unique == "t"}
        if (oid, name) not in found:
            items[oid].setdefault("indexes", []).append(new)
        found.setdefault((oid, name), new)["columns"].append(column)


def _ask(
    session: Session, call: Call, queries: Sequence[str], params: Sequence[str]
) -> list[pq.abc.PGresult]:
    values = [param.encode() for param in params]
    send = session.pgconn.send_query_params
    answers = session.exchange(call, [partial(send, each.encode(), values) for each in queries])
    for answer in answers:
        if failed(answer.result):
            raise in_call(statement_error(answer.result, ""), call)
    return [answer.result for answer in answers]


def _rows(result: pq.abc.PGresult) -> Iterator[list[str]]:
    for row in range(result.ntuples):
        values = (result.get_value(row, column) or b"" for column in range(result.nfields))
        yield [value.decode("utf-8", "replace") for value in values]


def _verbs(allowed: Sequence[str]) -> list[str]:
    return [verb for verb, may in zip(VERBS, allowed, strict=False) if may == "t"]


def _shown(schema: str, name: str) -> str:
    return name if schema == "public" else f"{schema}.{name}"


def _like(pattern: str) -> str:
    """`*` and `?` as LIKE writes them; everything else stands for itself."""
    for character in "\\%_":
        pattern = pattern.replace(character, f"\\{character}")
    return pattern.replace("*", "%").replace("?", "_")
