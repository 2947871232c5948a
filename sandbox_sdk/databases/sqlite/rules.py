"""What a sandbox may do with an SQLite database, as plain data a worker understands.

{"default": RULE, "tables": {"users": RULE}, "owner": false}
RULE = {"select": true, "insert": ["name"], "update": false, "delete": false, "rows": "id < 9"}
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Columns = bool | frozenset[str]


def fold(name: str) -> str:
    """The name as SQLite compares it: ASCII letters only are the same in upper and lower case."""
    return name.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


def quoted(name: str) -> str:
    """The name as an identifier in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """The text as a string in SQL."""
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True, slots=True)
class Rule:
    """One table's. `rows` is a condition over its columns."""

    select: Columns = False
    insert: Columns = False
    update: Columns = False
    delete: bool = False
    rows: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Rule":
        """From plain data."""
        return cls(
            _columns(given["select"]),
            _columns(given["insert"]),
            _columns(given["update"]),
            bool(given["delete"]),
            given.get("rows"),
        )

    @property
    def writes(self) -> bool:
        """Whether anything may be changed."""
        return bool(self.insert or self.update or self.delete)

    @property
    def verbs(self) -> list[str]:
        """What may be done, for at least one column."""
        return [verb for verb in ("select", "insert", "update", "delete") if getattr(self, verb)]

    def describe(self) -> str:
        """In words, for a hint: "select (id, name), delete"."""
        words: list[str] = []
        for verb in self.verbs:
            columns = getattr(self, verb)
            narrow = f" ({', '.join(sorted(columns))})" if isinstance(columns, frozenset) else ""
            words.append(verb + narrow)
        return ", ".join(words) or "nothing"


@dataclass(frozen=True, slots=True)
class Rules:
    """All of a database's. Table names are folded."""

    default: Rule = field(default_factory=Rule)
    tables: Mapping[str, Rule] = field(default_factory=dict[str, Rule])
    owner: bool = False

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Rules":
        """From plain data."""
        tables = {fold(name): Rule.of(rule) for name, rule in given["tables"].items()}
        return cls(Rule.of(given["default"]), tables, bool(given["owner"]))

    def rule(self, table: str) -> Rule:
        """What holds for a table."""
        return self.tables.get(fold(table), self.default)

    @property
    def writable(self) -> bool:
        """Whether any table may be changed."""
        return self.default.writes or any(rule.writes for rule in self.tables.values())

    @property
    def reads_all(self) -> bool:
        """Whether every column of every table may be read."""
        return all(rule.select is True for rule in (self.default, *self.tables.values()))


def _columns(given: Any) -> Columns:
    return given if isinstance(given, bool) else frozenset(fold(name) for name in given)
