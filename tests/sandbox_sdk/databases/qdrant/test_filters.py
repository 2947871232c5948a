"""Filters a model may send: the good ones become qdrant's, the bad ones name the place."""

from typing import Any

import pytest

from sandbox_sdk.databases.qdrant.filters import MAX_DEPTH, MAX_PARTS, Filter
from tool_plugins.errors import ErrorCode, ToolError

CITY = {"key": "city", "match": {"value": "Paris"}}
ONE = "12345678-1234-5678-1234-567812345678"


def nested(depth: int) -> dict[str, Any]:
    chosen: dict[str, Any] = {"must": [CITY]}
    for _ in range(depth):
        chosen = {"must": [chosen]}
    return chosen


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"mst": [CITY]}, "filter has the unknown field 'mst'"),
        ({"must": "city"}, "filter.must is neither a condition nor a list"),
        ({"must": ["city"]}, r"filter.must\[0\] is not an object"),
        ({"must": [{"field": "city"}]}, r"filter.must\[0\] is no condition"),
        ({"must": [CITY, {"key": "a"}]}, r"filter.must\[1\] tests none"),
        ({"must": [CITY | {"range": {"lt": 1}}]}, r"\[0\] tests match and range"),
        ({"must": [{"key": "a", "match": "Paris"}]}, r"must\[0\].match is not an object"),
        (
            {"must": [{"key": "a", "match": {"valu": 1}}]},
            r"\[0\].match has valu; it has one of",
        ),
        ({"must": [{"key": "a", "match": {"value": 1.5}}]}, r"must\[0\].match.value is wrong"),
        ({"must": [{"key": "a", "match": {"any": [1, "a"]}}]}, r"must\[0\].match.any.* is wrong"),
        ({"must": [{"key": 1, "match": {"value": 1}}]}, r"must\[0\].key is wrong"),
        ({"must": [{"key": "a", "range": {"lt": "x"}}]}, r"must\[0\].range.lt.* is wrong"),
        ({"must": [{"key": "a", "range": {"lt": 1, "gt": "2020-01-01"}}]}, "range.lt does not fit"),
        ({"must": [{"key": "a", "range": {"less": 1}}]}, r"must\[0\].range.less is wrong"),
        ({"must": [{"key": "a", "range": {}}]}, "range is not an object such as"),
        ({"must": [{"key": "a", "geo_radius": {"radius": 1}}]}, r"\[0\].geo_radius.* is wrong"),
        ({"must": [{"has_id": [1, True]}]}, r"must\[0\].has_id: id True is neither"),
        ({"must": [{"has_id": 1}]}, r"must\[0\] is not \{has_id"),
        ({"must": [{"nested": {"key": "a"}}]}, r"must\[0\].nested is not an object of key"),
        (
            {"must": [{"nested": {"key": "a", "filter": {"mst": []}}}]},
            r"must\[0\].nested.filter has the unknown field 'mst'",
        ),
        ({"min_should": {"conditions": [CITY]}}, "filter.min_should is not an object"),
        ({"min_should": {"conditions": [CITY], "min_count": 0}}, "min_should.min_count is not"),
        ({"must": [CITY | {"lookup_from": "notes"}]}, r"must\[0\].lookup_from is wrong"),
    ],
)
def test_a_bad_filter_names_the_place(given: dict[str, Any], place: str) -> None:
    with pytest.raises(ToolError, match=place) as caught:
        Filter(given)

    assert caught.value.code == ErrorCode.INVALID_ARGUMENT
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    ("given", "conditions"),
    [
        ({}, 0),
        ({"must": [], "should": None}, 0),
        ({"must": [CITY]}, 1),
        ({"must": [{"key": "a", "range": {"gte": "2020-01-01T00:00:00Z"}}]}, 1),
        ({"must": [{"key": "a", "values_count": {"gt": 1}}]}, 1),
        ({"must_not": [{"is_null": {"key": "a"}}]}, 1),
        ({"must": [{"key": "a", "is_empty": False}]}, 1),
        ({"must": [{"nested": {"key": "a", "filter": {"must": [CITY, CITY]}}}]}, 3),
        ({"should": [{"has_id": [1, ONE]}, {"has_vector": "title"}]}, 2),
        ({"must": [{"key": "a", "match": {"text": "two words"}}]}, 1),
    ],
)
def test_a_good_filter_says_the_same_to_a_server(given: dict[str, Any], conditions: int) -> None:
    chosen = Filter(given)

    assert chosen.conditions == conditions
    assert Filter(chosen.as_json()).as_json() == chosen.as_json()


def test_what_a_server_gets_is_what_was_given() -> None:
    given = {"must": [CITY, {"key": "price", "range": {"lt": 10.0}}], "must_not": [{"has_id": [7]}]}

    assert Filter(given).as_json() == given


def test_depth_is_bounded() -> None:
    assert Filter(nested(MAX_DEPTH)).conditions == 1
    for depth in (MAX_DEPTH + 1, 10_000):
        with pytest.raises(ToolError, match="levels deep"):
            Filter(nested(depth))


def test_the_number_of_parts_is_bounded() -> None:
    assert Filter({"must": [CITY] * (MAX_PARTS - 1)}).conditions == MAX_PARTS - 1
    for bomb in (
        {"must": [CITY] * MAX_PARTS},
        {"must": [{"has_id": list(range(MAX_PARTS))}]},
        {"must": [{"key": "a", "match": {"any": ["x"] * MAX_PARTS}}]},
    ):
        with pytest.raises(ToolError, match="goes beyond 1000"):
            Filter(bomb)
