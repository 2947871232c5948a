"""Conditions on rows turned into row security.

    sandbox_sdk_all_rows   permissive, for everybody: nothing changes for anyone by switching row
                           security on. Made only where it was off.
    sbx_...                restrictive, for one role: the rows this role is limited to, on top of
                           whatever other policies say.

A role's name is its policy's name, so both are found again without a list.
"""

from collections.abc import Iterable

from psycopg import sql

from tool_plugins.errors import ConfigurationError

from .admin import Connection, execute, raw
from .catalog import Relation
from .grants import Grant, qualified

ALL_ROWS = "sandbox_sdk_all_rows"

# Names in a condition mean what they mean to the operator; nothing hides a built-in function.
SEARCH_PATH = sql.SQL("SET LOCAL search_path = pg_catalog, public")

STATE = """
SELECT n.nspname::text, c.relname::text, c.relrowsecurity,
       EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = %(all_rows)s),
       EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND NOT p.polpermissive
               AND NOT c.relrowsecurity)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p')
"""

UNUSED = """
SELECT format('DROP POLICY %%1$I ON %%2$I.%%3$I; ALTER TABLE %%2$I.%%3$I DISABLE ROW LEVEL SECURITY',
              p.polname, n.nspname, c.relname)
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE p.polname = %(all_rows)s AND NOT EXISTS (
    SELECT FROM pg_policy q WHERE q.polrelid = p.polrelid AND q.polname ~ '^sbx_[a-z2-7]{26}_')
"""  # noqa: E501 - one statement to read


def restricted(grants: Iterable[Grant]) -> list[Grant]:
    """Those whose rows are limited."""
    return [grant for grant in grants if grant.rule.rows is not None]


def prepare_tables(connection: Connection, grants: Iterable[Grant]) -> list[sql.Composable]:
    """Statements that switch row security on where it is off, and change nothing by that.

    To be run in one transaction with those that use it.

    Raises:
        ConfigurationError: a table has policies that would come to life for everybody.
    """
    wanted = {(each.relation.schema, each.relation.name): each.relation for each in grants}
    if not wanted:
        return []
    statements: list[sql.Composable] = []
    for schema, name, enabled, prepared, dormant in connection.execute(
        raw(STATE), {"all_rows": ALL_ROWS}
    ).fetchall():
        relation = wanted.get((schema, name))
        if relation is None or enabled:
            continue
        if dormant:
            raise ConfigurationError(
                f"table {relation.title!r} has restrictive policies, but row security is off; "
                "switching it on would hide rows from others",
                hint="enable row level security on it, or drop those policies",
            )
        if not prepared:
            statements.append(_all_rows(relation))
        statements.append(
            sql.SQL("ALTER TABLE {} ENABLE ROW LEVEL SECURITY").format(qualified(relation))
        )
    return statements


def policy(grant: Grant, role: str) -> sql.Composed:
    """The statement that limits a role to the rows of a rule."""
    condition = raw(f"(\n{grant.rule.rows}\n)")  # a comment in it ends before the bracket
    return sql.SQL(
        "CREATE POLICY {role} ON {table} AS RESTRICTIVE FOR ALL TO {role} USING {rows} "
        "WITH CHECK {rows}"
    ).format(role=sql.Identifier(role), table=qualified(grant.relation), rows=condition)


def drop_policies(connection: Connection, role: str) -> None:
    """Drops a role's policies in the connected database; nobody else's."""
    rows = connection.execute(
        "SELECT format('DROP POLICY %%I ON %%I.%%I', p.polname, n.nspname, c.relname) "
        "FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.polname = %s",
        [role],
    ).fetchall()
    execute(connection, [raw(text) for (text,) in rows])


def forget_tables(connection: Connection) -> None:
    """Switches row security off again where it was on for sandboxes only and none is left."""
    rows = connection.execute(raw(UNUSED), {"all_rows": ALL_ROWS}).fetchall()
    execute(connection, [raw(text) for (text,) in rows])


def _all_rows(relation: Relation) -> sql.Composed:
    return sql.SQL("CREATE POLICY {} ON {} TO PUBLIC USING (true) WITH CHECK (true)").format(
        sql.Identifier(ALL_ROWS), qualified(relation)
    )
