"""What `database_list` says of a database, and in words what may be done with it."""

from typing import Any

from .access import VERBS, Access, Database, TableAccess

NAMES = {"select": "read", "insert": "insert", "update": "update", "delete": "delete"}
LEVEL_WORDS = {
    "none": "",
    "read": "read",
    "write": "read; write",
    "owner": "read; write; create, alter and drop",
}
MOST_RULES = 20


def view(database: Database, file: str | None = None) -> dict[str, Any]:
    """The fields of a `DatabaseView`; `file` is where the sandbox has it as a file."""
    limits = database.limits
    return {
        "name": database.name,
        "engine": database.engine,
        "description": database.description,
        "isolation": database.isolation,
        "writable": database.access.writable,
        "access": describe(database.access),
        "transactions": database.engine != "qdrant",
        "max_rows": limits.rows,
        "max_bytes": limits.bytes,
        "timeout_s": limits.timeout_s,
        "variable": f"{database.name.upper()}_DATABASE_URL" if database.expose else None,
        "file": file,
    }


def describe(access: Access) -> str:
    """Such as "read; write orders; users: read (id, name), rows where tenant = 'acme'"."""
    schemas = access.schemas.items()
    rules = [
        *(f"{LEVEL_WORDS[level] or 'nothing'} in schema {name}" for name, level in schemas),
        *(f"{name}: {_rule(access.rule(name))}" for name in access.tables),
    ]
    if len(rules) > MOST_RULES:
        rules[MOST_RULES:] = [f"and {len(rules) - MOST_RULES} more rules"]
    general = LEVEL_WORDS[access.default]
    if rules:
        general = f"elsewhere {general or 'nothing'}"
        return "; ".join([*rules, general])
    return general or "nothing"


def _rule(rule: TableAccess) -> str:
    verbs = [f"{NAMES[verb]}{_columns(rule.columns(verb))}" for verb in VERBS if rule.columns(verb)]
    where = f", rows where {rule.rows}" if rule.rows else ""
    return (", ".join(verbs) or "nothing") + where


def _columns(columns: bool | tuple[str, ...]) -> str:
    return "" if isinstance(columns, bool) else f" ({', '.join(columns)})"
