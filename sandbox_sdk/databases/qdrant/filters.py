"""Filters of a model, checked with qdrant's own types so that an error names the field.

Qdrant's models of a filter are unions of unions, and their errors list what every branch would
have liked. So the branch is chosen here, by the fields that are there, and only that one judges.
Worker only: loads qdrant's client.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from qdrant_client import models

from tool_plugins.errors import ErrorCode, ToolError

from .points import BadPoint, point_id

MAX_DEPTH = 10
MAX_PARTS = 1000
"""Conditions and values in one filter: the embedded engine tries each on every point."""
CLAUSES = ("must", "should", "must_not")
_CONDITIONS: Mapping[str, type[BaseModel]] = {
    "key": models.FieldCondition,
    "is_empty": models.IsEmptyCondition,
    "is_null": models.IsNullCondition,
    "has_id": models.HasIdCondition,
    "has_vector": models.HasVectorCondition,
}
_MATCHES: Mapping[str, type[BaseModel]] = {
    "value": models.MatchValue,
    "any": models.MatchAny,
    "except": models.MatchExcept,
    "text": models.MatchText,
    "text_any": models.MatchTextAny,
    "phrase": models.MatchPhrase,
    "prefix": models.MatchPrefix,
    "substring": models.MatchSubstring,
}
_TESTS = ("range", "geo_bounding_box", "geo_radius", "geo_polygon", "values_count", "is_empty")
_TESTS = ("match", *_TESTS, "is_null")


class Filter:
    """A checked filter. `conditions` is how many there are: one with none fits every point."""

    def __init__(self, given: dict[str, Any]) -> None:
        """Raises ToolError: INVALID_ARGUMENT, names the place."""
        self.conditions = 0
        self._parts = 0
        self.model = self._filter(given, "filter", 0)

    def as_json(self) -> dict[str, Any]:
        """As a server takes it."""
        return self.model.model_dump(mode="json", exclude_none=True, by_alias=True)

    def _filter(self, given: Any, where: str, depth: int) -> models.Filter:
        if not isinstance(given, dict):
            raise _bad(where, "is not an object")
        if depth > MAX_DEPTH:
            raise _bad("filter", f"is nested more than {MAX_DEPTH} levels deep")
        self._count(where)
        fields: dict[str, Any] = {}
        for name, clause in given.items():
            if name in CLAUSES:
                fields[name] = self._clause(clause, f"{where}.{name}", depth)
            elif name == "min_should":
                fields[name] = self._min_should(clause, f"{where}.{name}", depth)
            else:
                known = ", ".join((*CLAUSES, "min_should"))
                raise _bad(where, f"has the unknown field {name!r}; it may have {known}")
        return models.Filter.model_construct(**fields)

    def _clause(self, given: Any, where: str, depth: int) -> list[Any]:
        if given is None:
            return []
        if isinstance(given, dict):
            return [self._condition(given, where, depth)]
        if not isinstance(given, list):
            raise _bad(where, "is neither a condition nor a list of them")
        return [self._condition(e, f"{where}[{n}]", depth) for n, e in enumerate(given)]

    def _min_should(self, given: Any, where: str, depth: int) -> models.MinShould:
        if not isinstance(given, dict) or given.keys() != {"conditions", "min_count"}:
            raise _bad(where, "is not an object of conditions and min_count")
        least = given["min_count"]
        if not isinstance(least, int) or isinstance(least, bool) or least < 1:
            raise _bad(f"{where}.min_count", "is not a whole number from 1 on")
        conditions = self._clause(given["conditions"], f"{where}.conditions", depth)
        return models.MinShould.model_construct(conditions=conditions, min_count=least)

    def _condition(self, given: Any, where: str, depth: int) -> Any:
        if not isinstance(given, dict):
            raise _bad(where, "is not an object")
        self._count(where)
        if "nested" in given:
            return self._nested(given, where, depth)
        for name, kind in _CONDITIONS.items():
            if name in given:
                self.conditions += 1
                return self._leaf(given, kind, where)
        if given.keys() & {*CLAUSES, "min_should"} or not given:
            return self._filter(given, where, depth + 1)
        known = ", ".join((*_CONDITIONS, "nested", *CLAUSES))
        raise _bad(where, f"is no condition; a condition has one of {known}")

    def _nested(self, given: dict[str, Any], where: str, depth: int) -> models.NestedCondition:
        inner = given["nested"]
        if given.keys() != {"nested"} or not isinstance(inner, dict):
            raise _bad(where, "is not {nested: {key, filter}}")
        if inner.keys() != {"key", "filter"} or not isinstance(inner["key"], str):
            raise _bad(f"{where}.nested", "is not an object of key and filter")
        self.conditions += 1
        below = self._filter(inner["filter"], f"{where}.nested.filter", depth + 1)
        nested = models.Nested.model_construct(key=inner["key"], filter=below)
        return models.NestedCondition.model_construct(nested=nested)

    def _leaf(self, given: dict[str, Any], kind: type[BaseModel], where: str) -> BaseModel:
        if kind is models.HasIdCondition:
            return self._has_id(given, where)
        if kind is models.FieldCondition:
            tests = [name for name in _TESTS if given.get(name) is not None]
            if len(tests) != 1:
                found = " and ".join(tests) or "none"
                raise _bad(where, f"tests {found}; use one of {', '.join(_TESTS)}")
            if tests == ["match"]:
                given = given | {"match": self._match(given["match"], f"{where}.match")}
            elif tests == ["range"]:
                given = given | {"range": _range(given["range"], f"{where}.range")}
        return _validated(kind, given, where)

    def _has_id(self, given: dict[str, Any], where: str) -> models.HasIdCondition:
        ids = given["has_id"]
        if given.keys() != {"has_id"} or not isinstance(ids, list):
            raise _bad(where, "is not {has_id: [ids]}")
        self._count(where, len(ids))
        try:
            checked = [point_id(each, f"{where}.has_id: id") for each in ids]
        except BadPoint as exc:
            raise ToolError(ErrorCode.INVALID_ARGUMENT, str(exc)) from None
        return models.HasIdCondition.model_construct(has_id=checked)

    def _match(self, given: Any, where: str) -> BaseModel:
        if not isinstance(given, dict):
            raise _bad(where, 'is not an object such as {"value": "Paris"}')
        kinds = [name for name in given if name in _MATCHES]
        if len(given) != 1 or not kinds:
            found = ", ".join(map(str, given)) or "nothing"
            raise _bad(where, f"has {found}; it has one of {', '.join(_MATCHES)}")
        values = given[kinds[0]]
        if isinstance(values, list):
            self._count(where, len(values))
        return _validated(_MATCHES[kinds[0]], given, where)

    def _count(self, where: str, parts: int = 1) -> None:
        self._parts += parts
        if self._parts > MAX_PARTS:
            raise _bad(where, f"goes beyond {MAX_PARTS} conditions and values in one filter")


def _range(given: Any, where: str) -> BaseModel:
    if not isinstance(given, dict) or not given:
        raise _bad(where, 'is not an object such as {"gte": 1, "lt": 10}')
    dates = any(isinstance(each, str) for each in given.values())
    for name, bound in given.items():
        if isinstance(bound, bool) or (dates and not isinstance(bound, str)):
            raise _bad(f"{where}.{name}", "does not fit: all bounds are numbers, or all are dates")
    return _validated(models.DatetimeRange if dates else models.Range, given, where)


def _validated(kind: type[BaseModel], given: dict[str, Any], where: str) -> BaseModel:
    try:
        return kind.model_validate(given)
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_input=False)[0]
        fields = [
            str(each) for each in error["loc"] if str(each) in given or len(error["loc"]) == 1
        ]
        raise _bad(".".join([where, *fields]), f"is wrong: {error['msg']}") from None


def _bad(where: str, why: str) -> ToolError:
    return ToolError(
        ErrorCode.INVALID_ARGUMENT,
        f"{where} {why}",
        hint='such as {"must": [{"key": "city", "match": {"value": "Paris"}}]}',
    )
