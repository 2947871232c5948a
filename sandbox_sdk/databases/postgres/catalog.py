"""What a database contains, as far as rules can be about it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from .admin import Connection, raw

Kind = Literal["table", "view", "materialized view", "foreign table"]

KINDS: dict[str, Kind] = {
    "r": "table",
    "p": "table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
}


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or what looks like one.

    `child`: a partition, or it inherits from another table, which shows its rows too. `invoker`:
    a view that acts with the rights of who uses it. `extension`: it came with an extension.
    `sequences` give columns their default, each as schema and name.
    """

    schema: str
    name: str
    kind: Kind
    columns: tuple[str, ...]
    child: bool = False
    invoker: bool = False
    extension: bool = False
    sequences: tuple[tuple[str, str], ...] = ()

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.name if self.schema == "public" else f"{self.schema}.{self.name}"

    @property
    def names(self) -> tuple[str, str]:
        """How a rule may name it."""
        return self.name, f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything in one database that is not the engine's own."""

    schemas: frozenset[str]
    relations: tuple[Relation, ...]

    def named(self, name: str) -> Iterator[Relation]:
        """Those a rule means by a name, with or without a schema."""
        return (each for each in self.relations if name in each.names)


SCHEMAS = """
SELECT n.nspname::text FROM pg_namespace n WHERE n.nspname !~ '^(pg_|information_schema$)'
"""

RELATIONS = """
SELECT n.nspname::text, c.relname::text, c.relkind::text,
       ARRAY(SELECT a.attname::text FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid),
       coalesce((SELECT o.option_value::boolean FROM pg_options_to_table(c.reloptions) o
                 WHERE o.option_name = 'security_invoker'), false),
       EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
               AND d.deptype = 'e'),
       ARRAY(SELECT DISTINCT ARRAY[m.nspname, s.relname]::text[]
             FROM pg_attrdef f
             JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
                                 AND d.refclassid = 'pg_class'::regclass
             JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
             JOIN pg_namespace m ON m.oid = s.relnamespace
             WHERE f.adrelid = c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^(pg_|information_schema$)'
ORDER BY n.nspname <> 'public', 1, 2
"""


def read_catalog(connection: Connection) -> Catalog:
    """The catalog of the connected database."""
    schemas = connection.execute(raw(SCHEMAS)).fetchall()
    rows = connection.execute(raw(RELATIONS)).fetchall()
    relations = [
        Relation(
            schema,
            name,
            KINDS[kind],
            tuple(columns),
            child,
            invoker,
            extension,
            tuple((one, two) for one, two in sequences),
        )
        for schema, name, kind, columns, child, invoker, extension, sequences in rows
    ]
    return Catalog(frozenset(name for (name,) in schemas), tuple(relations))
