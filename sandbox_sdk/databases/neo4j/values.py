"""Values of the neo4j library as plain Python, and the names of their types.

    node            {"id", "labels", "properties"}
    relationship    {"id", "type", "start", "end", "properties"}; start and end are nodes' ids
    path            {"nodes", "relationships"}
    point           {"srid", "x", "y", "z"} or {"srid", "longitude", "latitude", "height"}

Dates, times and durations become ISO 8601. An id is good for the transaction it came from.
"""

from collections.abc import Callable, Mapping
from typing import Any

from neo4j.graph import Node, Path, Relationship
from neo4j.spatial import Point
from neo4j.time import Date, DateTime, Duration, Time

_GEOGRAPHIC = {4326: ("longitude", "latitude"), 4979: ("longitude", "latitude", "height")}
_CARTESIAN = ("x", "y", "z")
_AS_THEY_ARE = (str, int, float, bool, type(None), bytes)


def plain(value: Any) -> Any:
    """The same value without a type of the library in it."""
    if type(value) in _AS_THEY_ARE:
        return value
    for kind, (_, convert) in _KINDS.items():
        if isinstance(value, kind):
            return convert(value)
    return bytes(value) if isinstance(value, bytearray) else str(value)


def type_name(value: Any) -> str:
    """What Cypher calls the type of a value; "ANY" for null, which has none."""
    for kind, name in _NAMES.items():
        if isinstance(value, kind):
            return name
    for kind, (name, _) in _KINDS.items():
        if isinstance(value, kind):
            return name
    return "ANY"


def _node(node: Node) -> dict[str, Any]:
    return {
        "id": node.element_id,
        "labels": sorted(node.labels),
        "properties": _map(dict(node.items())),
    }


def _relationship(link: Relationship) -> dict[str, Any]:
    ends = [node.element_id if node is not None else None for node in link.nodes]
    return {
        "id": link.element_id,
        "type": link.type,
        "start": ends[0],
        "end": ends[1],
        "properties": _map(dict(link.items())),
    }


def _path(path: Path) -> dict[str, Any]:
    return {
        "nodes": [_node(node) for node in path.nodes],
        "relationships": [_relationship(link) for link in path.relationships],
    }


def _point(point: Point) -> dict[str, Any]:
    names = _GEOGRAPHIC.get(point.srid or 0, _CARTESIAN)
    return {"srid": point.srid, **dict(zip(names, point, strict=False))}


def _map(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: plain(each) for name, each in values.items()}


def _list(values: Any) -> list[Any]:
    return [plain(each) for each in values]


def _iso(value: Any) -> str:
    return value.iso_format()


# A point is a tuple and a duration too, so that both come before lists.
_KINDS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    Node: ("NODE", _node),
    Relationship: ("RELATIONSHIP", _relationship),
    Path: ("PATH", _path),
    Point: ("POINT", _point),
    Duration: ("DURATION", _iso),
    DateTime: ("DATETIME", _iso),
    Date: ("DATE", _iso),
    Time: ("TIME", _iso),
    dict: ("MAP", _map),
    list: ("LIST", _list),
    tuple: ("LIST", _list),
}
_NAMES: dict[type, str] = {
    bool: "BOOLEAN",
    int: "INTEGER",
    float: "FLOAT",
    str: "STRING",
    bytes: "BYTES",
    bytearray: "BYTES",
}
