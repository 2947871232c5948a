"""Rules turned into GRANT statements. Pure: a catalog and an access in, statements out.

A partition, or a table that inherits, shows rows of its parent under a name of its own, and would
so get around the parent's rule: it is granted only to a rule that names it. The same holds for
materialized views and foreign tables, which hold or fetch rows with somebody else's rights, and
for what came with an extension.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from psycopg import sql

from sandbox_sdk.databases.access import VERBS, Access, TableAccess
from tool_plugins.errors import ConfigurationError

from .catalog import Catalog, Relation
from .names import nearest


@dataclass(frozen=True, slots=True)
class Grant:
    """A relation somebody may use, and how."""

    relation: Relation
    rule: TableAccess


def resolve(access: Access, catalog: Catalog) -> list[Grant]:
    """What an access means in a database, relation by relation.

    Raises:
        ConfigurationError: a rule names a schema, table or column that is not there, or asks for
            what PostgreSQL cannot hold.
    """
    for schema in access.schemas:
        if schema not in catalog.schemas:
            raise _missing("schema", schema, catalog.schemas)
    known = {name for relation in catalog.relations for name in relation.names}
    for table in access.tables:
        if table not in known:
            raise _missing("table", table, known)
    grants: list[Grant] = []
    for relation in catalog.relations:
        rule = access.rule(relation.name, schema=relation.schema)
        explicit = any(name in access.tables for name in relation.names)
        if explicit:
            _check(relation, rule)
        if any(rule.columns(verb) for verb in VERBS) and (explicit or _ordinary(relation)):
            grants.append(Grant(relation, rule))
    return grants


def grant_statements(grants: Iterable[Grant], role: str) -> list[sql.Composable]:
    """Statements that give a role what `resolve` found."""
    to = sql.Identifier(role)
    given = list(grants)
    statements: list[sql.Composable] = []
    schemas = sorted({each.relation.schema for each in given})
    schemas += [schema for schema, _ in _sequences(given) if schema not in schemas]
    if schemas:
        names = _listed(sql.Identifier(schema) for schema in dict.fromkeys(schemas))
        statements.append(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(names, to))
    if sequences := _sequences(given):
        names = _listed(sql.Identifier(*each) for each in sequences)
        statements.append(sql.SQL("GRANT USAGE ON SEQUENCE {} TO {}").format(names, to))
    whole: dict[str, list[Relation]] = {}
    for grant in given:
        verbs = ", ".join(verb for verb in VERBS if grant.rule.columns(verb) is True)
        if verbs:
            whole.setdefault(verbs, []).append(grant.relation)
        statements += _column_statements(grant, to)
    for verbs, relations in whole.items():
        names = _listed(qualified(relation) for relation in relations)
        statements.append(
            sql.SQL("GRANT {} ON TABLE {} TO {}").format(sql.SQL(verbs), names, to)  # pyright: ignore[reportArgumentType]
        )
    return statements


def qualified(relation: Relation) -> sql.Identifier:
    """A relation's name with its schema, quoted."""
    return sql.Identifier(relation.schema, relation.name)


def _column_statements(grant: Grant, to: sql.Identifier) -> Iterator[sql.Composable]:
    verbs = {"select": sql.SQL("SELECT"), "insert": sql.SQL("INSERT"), "update": sql.SQL("UPDATE")}
    for name, verb in verbs.items():
        columns = getattr(grant.rule, name)
        if columns and columns is not True:
            names = _listed(sql.Identifier(column) for column in columns)
            table = qualified(grant.relation)
            yield sql.SQL("GRANT {} ({}) ON TABLE {} TO {}").format(verb, names, table, to)


def _sequences(grants: Iterable[Grant]) -> list[tuple[str, str]]:
    """The sequences that defaults of rows to insert are taken from."""
    return sorted(
        {each for grant in grants if grant.rule.insert for each in grant.relation.sequences}
    )


def _ordinary(relation: Relation) -> bool:
    if relation.child or relation.extension:
        return False
    return relation.kind == "table" or (relation.kind == "view" and relation.invoker)


def _check(relation: Relation, rule: TableAccess) -> None:
    """What a rule may not say about this relation, though it names it."""
    title = f"{relation.kind} {relation.title!r}"
    for verb in VERBS:
        columns = rule.columns(verb)
        for column in () if isinstance(columns, bool) else columns:
            if column not in relation.columns:
                raise _missing(f"column of {title}", column, relation.columns)
    if rule.rows is not None and relation.kind != "table":
        raise ConfigurationError(
            f"rows of {title} cannot be restricted: PostgreSQL has row security for tables only",
            hint="restrict the rows of the tables it reads",
        )
    writes = rule.insert or rule.update or rule.delete
    if relation.kind == "materialized view" and writes:
        raise ConfigurationError(f"{title} cannot be written")
    if relation.kind == "view" and not relation.invoker and (writes or rule.select):
        raise ConfigurationError(
            f"{title} reads its tables with its owner's rights, whatever the rules for them are",
            hint=f"ALTER VIEW {relation.title} SET (security_invoker = true), from version 15 on",
        )


def _missing(what: str, name: str, known: Iterable[str]) -> ConfigurationError:
    return ConfigurationError(f"there is no {what} named {name!r}", hint=nearest(name, known))


def _listed(names: Iterable[sql.Identifier]) -> sql.Composed:
    return sql.SQL(", ").join(names)
