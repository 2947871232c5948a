"""Labels and relationship types of a graph, with the properties their members have.

Without procedures beyond the server's own. Properties are found by a look at the whole graph, so
"columns" takes longer the larger it is; "names" does not.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, cast

import neo4j

from .cypher import quoted

Item = dict[str, Any]

_KINDS = {"label": "NODE", "relationship": "RELATIONSHIP"}


def read_schema(
    transaction: neo4j.Transaction, *, pattern: str, detail: str, limit: int, verbs: list[str]
) -> dict[str, Any]:
    """`items`, `total` and `truncated` of a `SchemaResult`."""
    names = _names(transaction, pattern)
    items: list[Item] = [
        {"name": name, "kind": kind, "verbs": verbs} for kind, name in names[:limit]
    ]
    if detail != "names":
        properties = {kind: _properties(transaction, kind) for kind in _KINDS}
        for item in items:
            item["columns"] = properties[item["kind"]].get(item["name"], [])
    if detail == "full":
        indexes, ends = _indexes(transaction), _ends(transaction)
        for item in items:
            item["indexes"] = indexes.get((item["kind"], item["name"]), [])
            item["row_estimate"] = _count(transaction, item)
            if item["kind"] == "relationship":
                item["foreign_keys"] = ends.get(item["name"], [])
    return {"items": items, "total": len(names), "truncated": len(names) > limit}


def _names(transaction: neo4j.Transaction, pattern: str) -> list[tuple[str, str]]:
    parts = (".*" if part == "*" else "." if part == "?" else re.escape(part) for part in pattern)
    wanted = re.compile("".join(parts), re.DOTALL)
    labels = transaction.run("CALL db.labels() YIELD label").value()
    types = transaction.run("CALL db.relationshipTypes() YIELD relationshipType").value()
    found = [("label", name) for name in sorted(labels)]
    found += [("relationship", name) for name in sorted(types)]
    return [(kind, name) for kind, name in found if wanted.fullmatch(name)]


def _properties(transaction: neo4j.Transaction, kind: str) -> dict[str, list[Item]]:
    """Columns by label or type. A node with two labels counts for both."""
    if kind == "label":
        query = (
            "CALL db.schema.nodeTypeProperties() YIELD nodeType, nodeLabels, propertyName, "
            "propertyTypes, mandatory RETURN nodeType AS kind, nodeLabels AS names, "
            "propertyName AS property, propertyTypes AS types, mandatory"
        )
    else:
        query = (
            "CALL db.schema.relTypeProperties() YIELD relType, propertyName, propertyTypes, "
            "mandatory RETURN relType AS kind, "
            "[substring(relType, 2, size(relType) - 3)] AS names, "
            "propertyName AS property, propertyTypes AS types, mandatory"
        )
    combinations: dict[str, set[str]] = defaultdict(set)
    rows: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for record in transaction.run(cast("Any", query)):
        for name in record["names"]:
            name = name.replace("``", "`")
            combinations[name].add(record["kind"])
            if record["property"] is not None:
                rows[name][record["property"]].append(record)
    return {
        name: [
            _column(property_, found, len(combinations[name]))
            for property_, found in sorted(by_property.items())
        ]
        for name, by_property in rows.items()
    }


def _column(name: str, records: list[Any], combinations: int) -> Item:
    types = sorted({each for record in records for each in record["types"] or ()})
    everywhere = len(records) == combinations and all(record["mandatory"] for record in records)
    return {"name": name, "type": " | ".join(types) or "ANY", "nullable": not everywhere}


def _indexes(transaction: neo4j.Transaction) -> dict[tuple[str, str], list[Item]]:
    kinds = {entity: kind for kind, entity in _KINDS.items()}
    query = (
        "SHOW INDEXES YIELD name, entityType, labelsOrTypes, properties, owningConstraint "
        "WHERE labelsOrTypes IS NOT NULL"
    )
    found: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for record in transaction.run(query):
        index = {
            "name": record["name"],
            "columns": record["properties"] or [],
            "unique": record["owningConstraint"] is not None,
        }
        for name in record["labelsOrTypes"]:
            found[kinds[record["entityType"]], name].append(index)
    return found


def _ends(transaction: neo4j.Transaction) -> dict[str, list[Item]]:
    """Which labels the relationships of a type begin and end at."""
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    overview = transaction.run("CALL db.schema.visualization()").single()
    if overview is None:
        return {}
    labels = {node.element_id: node.labels for node in overview["nodes"]}
    for link in overview["relationships"]:
        for side, node in zip(("from", "to"), link.nodes, strict=True):
            found[link.type] |= {(side, name) for name in labels[node.element_id]}
    return {name: _references(ends) for name, ends in found.items()}


def _references(ends: Iterable[tuple[str, str]]) -> list[Item]:
    return [
        {"columns": [side], "refers_to": label, "refers_to_columns": []}
        for side, label in sorted(ends)
    ]


def _count(transaction: neo4j.Transaction, item: Item) -> int:
    name = quoted(item["name"])
    one = f"(n:{name})" if item["kind"] == "label" else f"()-[n:{name}]->()"
    record = transaction.run(cast("Any", f"MATCH {one} RETURN count(n)")).single(strict=True)
    return int(record[0])
