"""The three operations, on a copy that lies in a file, on the fake, and on a real server."""

import json
from typing import Any

import pytest

from tests.sandbox_sdk.databases.qdrant.conftest import (
    NOTES,
    Sandboxes,
    a_call,
    find,
    ids,
    put,
    remove,
)
from tool_plugins.database.results import SchemaItem, VectorChangeResult, VectorSearchResult
from tool_plugins.errors import ErrorCode, ToolError

UUID = NOTES[0]["id"]
READ_ONE = {"tables": {"docs": "read"}}
WRITE_ONE = {"tables": {"docs": "write", "notes": "read"}}


async def test_search_finds_the_nearest_first(sandboxes: Sandboxes) -> None:
    driver = await sandboxes.add()

    result = find(driver, limit=2)

    VectorSearchResult.model_validate(result)
    assert ids(result) == [1, 2]
    assert result["hits"][0]["payload"] == {"city": "Paris", "price": 10}
    assert result["hits"][0]["score"] == pytest.approx(1.0)
    assert "vector" not in result["hits"][0]


async def test_search_near_a_point_leaves_it_out(sandboxes: Sandboxes) -> None:
    driver = await sandboxes.add()

    assert ids(find(driver, point_id=1, limit=1)) == [2]


async def test_a_point_that_is_not_there_is_not_found(sandboxes: Sandboxes) -> None:
    driver = await sandboxes.add()

    with pytest.raises(ToolError, match=r"point.* 99") as caught:
        find(driver, point_id=99)

    assert caught.value.code == ErrorCode.NOT_FOUND


async def test_offset_threshold_and_vectors(sandboxes: Sandboxes) -> None:
    driver = await sandboxes.add()

    assert ids(find(driver, limit=1, offset=1)) == [2]
    assert ids(find(driver, score_threshold=0.5)) == [1, 2]
    assert find(driver, limit=1, with_vector=True)["hits"][0]["vector"] == [1, 0, 0]


async def test_one_of_several_vectors_is_searched_by_name(sandboxes: Sandboxes) -> None:
    driver = await sandboxes.add()

    found = find(driver, "notes", vector=[1, 0], vector_name="title", with_vector=True)

    assert ids(found) == [UUID]
    assert found["hits"][0]["vector"] == {"title": [1.0, 0.0]}
    assert ids(find(driver, "notes", point_id=UUID.upper(), vector_name="title")) == []
    with pytest.raises(ToolError, match=r"vector_name is missing.*title, body"):
        find(driver, "notes", vector=[1, 0])
    with pytest.raises(ToolError, match=r"no vector 'titel'.*title, body"):
        find(driver, "notes", vector=[1, 0], vector_name="titel")


FILTERS: list[tuple[dict[str, Any], list[int]]] = [
    ({"must": [{"key": "city", "match": {"value": "Rome"}}]}, [2, 3]),
    ({"must": {"key": "city", "match": {"value": "Rome"}}}, [2, 3]),
    ({"must_not": [{"key": "city", "match": {"any": ["Rome", "Oslo"]}}]}, [1]),
    ({"must": [{"key": "city", "match": {"except": ["Rome", "Oslo"]}}]}, [1]),
    ({"should": [{"has_id": [1]}, {"key": "price", "range": {"gt": 20}}]}, [1, 3]),
    ({"must": [{"key": "price", "range": {"gte": 10, "lt": 20}}]}, [1]),
    ({"must": [{"is_empty": {"key": "price"}}]}, [4]),
    ({"must": [{"key": "tags", "match": {"value": "north"}}]}, [4]),
    ({"must": [{"should": [{"has_id": [3]}, {"has_id": [4]}]}]}, [3, 4]),
    (
        {"min_should": {"conditions": [{"has_id": [3]}, {"has_id": [3, 4]}], "min_count": 2}},
        [3],
    ),
    ({}, [1, 2, 3, 4]),
]


async def test_filters_choose_points(sandboxes: Sandboxes) -> None:
    driver = await sandboxes.add()

    for chosen, found in FILTERS:
        assert sorted(ids(find(driver, filter=chosen))) == found, chosen


async def test_upsert_adds_and_replaces(sandboxes: Sandboxes) -> None:
    driver = await sandboxes.add()

    result = put(
        driver,
        {"id": 1, "vector": [0, 0, 1], "payload": {"city": "Bonn"}},
        {"id": 9, "vector": [1, 0, 0]},
    )

    VectorChangeResult.model_validate(result)
    assert result == {"collection": "docs", "changed": 2, "count": 5}
    assert ids(find(driver, limit=1)) == [9]
    hits = find(driver, vector=[0, 0, 1])["hits"]
    assert {"city": "Bonn"} in [each["payload"] for each in hits[:2]]


async def test_of_points_with_one_id_the_last_counts(sandboxes: Sandboxes) -> None:
    driver = await sandboxes.add()
    twice = [{"id": 9, "vector": [1, 0, 0], "payload": {"n": n}} for n in (1, 2)]

    assert put(driver, *twice)["changed"] == 1
    assert ids(find(driver, filter={"must": [{"key": "n", "match": {"value": 2}}]})) == [9]


async def test_the_largest_id_is_understood_as_it_is_shown(sandboxes: Sandboxes) -> None:
    driver = await sandboxes.add()
    largest = 2**64 - 1

    put(driver, {"id": largest, "vector": [1, 0, 0]})

    assert largest in ids(find(driver))
    assert remove(driver, ids=[str(largest)])["changed"] == 1


async def test_delete_by_ids_counts_those_that_were_there(sandboxes: Sandboxes) -> None:
    driver = await sandboxes.add()

    result = remove(driver, ids=[1, 2, 77])

    VectorChangeResult.model_validate(result)
    assert result == {"collection": "docs", "changed": 2, "count": 2}
    assert sorted(ids(find(driver))) == [3, 4]


async def test_delete_by_filter(sandboxes: Sandboxes) -> None:
    driver = await sandboxes.add()

    result = remove(driver, filter={"must": [{"key": "city", "match": {"value": "Rome"}}]})

    assert (result["changed"], result["count"]) == (2, 2)


@pytest.mark.parametrize(
    "everything",
    [
        {},
        {"must": []},
        {"must_not": []},
        {"should": None},
        {"must": [{"must": []}]},
        {"must": [{}]},
    ],
)
async def test_a_delete_of_everything_is_refused(
    embedded: Sandboxes, everything: dict[str, Any]
) -> None:
    driver = await embedded.add()

    with pytest.raises(ToolError, match="no condition") as caught:
        remove(driver, filter=everything)

    assert caught.value.code == ErrorCode.INVALID_ARGUMENT
    assert len(ids(find(driver))) == 4


GOOD = {"id": 9, "vector": [1, 0, 0]}


BAD_POINTS: list[tuple[dict[str, Any], str]] = [
    ({"id": 8, "vector": [1, 0]}, r"points\[1\].vector has 2 dimensions, the collection has 3"),
    ({"id": 8, "vector": []}, "has 0 dimensions"),
    ({"id": 8, "vector": [1, float("nan"), 0]}, r"points\[1\].vector\[1\] is not a finite"),
    ({"id": 8, "vector": [1, float("inf"), 0]}, r"vector\[1\] is not a finite"),
    ({"id": 8, "vector": {"title": [1, 0, 0]}}, "is an object"),
    ({"id": True, "vector": [1, 0, 0]}, r"points\[1\].id True is neither"),
    ({"id": -1, "vector": [1, 0, 0]}, "id -1 is neither"),
    ({"id": 2**64, "vector": [1, 0, 0]}, "id 18446744073709551616 is neither"),
    ({"id": "x" * 5000, "vector": [1, 0, 0]}, "is neither"),
    ({"id": "٣", "vector": [1, 0, 0]}, "is neither"),
    ({"id": 8, "vector": [1, 0, 0], "payload": {"a": float("nan")}}, "payload.a is nan"),
    ({"id": 8, "vector": [1, 0, 0], "payload": {"a": "\ud800"}}, "half of a surrogate"),
    ({"id": 8, "vector": [1, 0, 0], "payload": {"a": 2**64}}, "does not fit into 64 bits"),
]


async def test_one_bad_point_and_nothing_is_written(sandboxes: Sandboxes) -> None:
    driver = await sandboxes.add()

    for point, reason in BAD_POINTS:
        with pytest.raises(ToolError, match=reason) as caught:
            put(driver, GOOD, point)
        assert caught.value.code == ErrorCode.INVALID_ARGUMENT
        assert len(caught.value.message) < 300
    assert sorted(ids(find(driver))) == [1, 2, 3, 4]


async def test_a_payload_nested_too_deep_is_refused(embedded: Sandboxes) -> None:
    driver = await embedded.add()
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}

    with pytest.raises(ToolError, match="levels deep"):
        put(driver, GOOD | {"payload": deep})


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"vector": [1, 0]}, "vector has 2 dimensions"),
        ({"vector": [1, 0, float("nan")]}, "not a finite"),
        ({"vector": [True, 0, 0]}, r"vector\[0\] is not a number"),
        ({"point_id": "abc"}, "point_id 'abc' is neither"),
        ({"vector": [1, 0, 0], "vector_name": "title"}, "no vector 'title'.*without a name"),
        ({"vector": [1, 0, 0], "score_threshold": float("nan")}, "score_threshold"),
        ({"vector": [1, 0, 0], "point_id": 1}, "exactly one"),
    ],
)
async def test_a_bad_search_says_what_is_wrong(
    embedded: Sandboxes, arguments: dict[str, Any], reason: str
) -> None:
    driver = await embedded.add()

    with pytest.raises(ToolError, match=reason) as caught:
        find(driver, **arguments)

    assert caught.value.code == ErrorCode.INVALID_ARGUMENT


async def test_bad_ids_of_a_delete_are_refused(embedded: Sandboxes) -> None:
    driver = await embedded.add()

    for wrong, reason in (([1, -1], r"ids\[1\] -1"), ([], "ids is empty")):
        with pytest.raises(ToolError, match=reason):
            remove(driver, ids=wrong)
    assert len(ids(find(driver))) == 4


async def test_what_may_be_read_cannot_be_written(sandboxes: Sandboxes) -> None:
    reader = await sandboxes.add(READ_ONE)

    for write in (lambda: put(reader, GOOD), lambda: remove(reader, ids=[1])):
        with pytest.raises(ToolError) as caught:
            write()
        assert caught.value.code == ErrorCode.PERMISSION_DENIED
        assert "docs" in caught.value.message
    assert sorted(ids(find(reader))) == [1, 2, 3, 4]


async def test_what_may_be_written_is_written_beside_what_may_only_be_read(
    sandboxes: Sandboxes,
) -> None:
    writer = await sandboxes.add(WRITE_ONE)

    assert put(writer, GOOD)["count"] == 5
    with pytest.raises(ToolError):
        remove(writer, "notes", ids=[UUID])
    assert len(ids(find(writer, "notes", vector=[1, 0], vector_name="title"))) == 1


async def test_a_forbidden_collection_looks_like_one_that_is_not_there(
    sandboxes: Sandboxes,
) -> None:
    driver = await sandboxes.add({"tables": {"docs": "write"}})

    for use in (
        lambda name: find(driver, name),
        lambda name: put(driver, GOOD, collection=name),
        lambda name: remove(driver, name, ids=[1]),
    ):
        seen: list[tuple[Any, str, str]] = []
        for name in ("notes", "nowhere"):
            with pytest.raises(ToolError) as caught:
                use(name)
            error = caught.value
            seen.append((error.code, error.message.replace(name, "?"), error.hint))
        assert seen[0] == seen[1]
        assert seen[0][0] == ErrorCode.PERMISSION_DENIED


async def test_no_name_leads_elsewhere(sandboxes: Sandboxes) -> None:
    driver = await sandboxes.add()

    for name in ("", ".", "..", "docs/points", "docs?x=1", "../docs", "docs\x00"):
        with pytest.raises(ToolError) as caught:
            find(driver, name)
        assert caught.value.code == ErrorCode.PERMISSION_DENIED


async def test_no_sandbox_reaches_the_copy_of_another(sandboxes: Sandboxes) -> None:
    one, other = await sandboxes.add(), await sandboxes.add()
    theirs = f"{sandboxes.ids[1]}__kb__docs"

    put(one, GOOD)
    remove(one, ids=[1])

    assert sorted(ids(find(other))) == [1, 2, 3, 4]
    assert sorted(ids(find(one))) == [2, 3, 4, 9]
    for name in (theirs, f"../{theirs}"):
        with pytest.raises(ToolError) as caught:
            find(one, name)
        assert caught.value.code == ErrorCode.PERMISSION_DENIED


async def test_the_schema_shows_what_may_be_used(sandboxes: Sandboxes) -> None:
    driver = await sandboxes.add(WRITE_ONE)

    full = driver.schema(a_call(), pattern="*", detail="full", limit=10)
    docs, notes = (SchemaItem.model_validate(each) for each in full["items"])

    assert (full["total"], full["truncated"]) == (2, False)
    assert (docs.name, docs.kind, docs.vectors) == ("docs", "collection", {"": "3 cosine"})
    assert docs.verbs == ["select", "insert", "update", "delete"]
    assert [(each.name, each.type) for each in docs.columns] == [
        ("city", "keyword"),
        ("price", "integer"),
    ]
    assert (docs.row_estimate, notes.row_estimate) == (4, 1)
    assert (notes.verbs, notes.vectors) == (["select"], {"title": "2 dot", "body": "4 euclid"})


async def test_the_schema_is_cut_to_pattern_detail_and_limit(sandboxes: Sandboxes) -> None:
    driver = await sandboxes.add()
    only = await sandboxes.add(READ_ONE)

    def shown(pattern: str, detail: str, limit: int) -> dict[str, Any]:
        return driver.schema(a_call(), pattern=pattern, detail=detail, limit=limit)

    assert [each["name"] for each in shown("n*", "names", 5)["items"]] == ["notes"]
    assert "vectors" not in shown("*", "names", 5)["items"][0]
    assert "row_estimate" not in shown("*", "columns", 5)["items"][0]
    cut = shown("*", "names", 1)
    assert (len(cut["items"]), cut["total"], cut["truncated"]) == (1, 2, True)
    assert only.schema(a_call(), pattern="*", detail="names", limit=5)["total"] == 1


async def test_the_cap_on_rows_is_said_when_it_cuts(embedded: Sandboxes) -> None:
    driver = await embedded.add()

    def found(limit: int, rows: int) -> dict[str, Any]:
        arguments = {"collection": "docs", "vector": [1, 0, 0], "limit": limit}
        return driver.search(a_call(rows=rows), arguments)

    assert (len(ids(found(10, 3))), found(10, 3)["truncated_by"]) == (3, "rows")
    assert (len(ids(found(10, 4))), found(10, 4)["truncated"]) == (4, False)
    assert (len(ids(found(3, 3))), found(3, 3)["truncated"]) == (3, False)


async def test_long_texts_are_clipped_and_counted(embedded: Sandboxes) -> None:
    driver = await embedded.add()
    put(driver, {"id": 9, "vector": [1, 0, 0], "payload": {"a": ["x" * 300], "b": "y" * 200}})
    arguments = {"collection": "docs", "point_id": 1, "limit": 1}

    result = driver.search(a_call(chars=200), arguments)

    assert result["hits"][0]["payload"] == {"a": ["x" * 200 + "… (300 characters)"], "b": "y" * 200}
    assert result["clipped_cells"] == 1


async def test_a_hit_too_large_to_be_shown_is_an_error(embedded: Sandboxes) -> None:
    driver = await embedded.add()
    put(driver, {"id": 9, "vector": [1, 0, 0], "payload": {"a": ["x" * 1000] * 300}})

    with pytest.raises(ToolError) as caught:
        find(driver, point_id=1, limit=1)

    assert caught.value.code == ErrorCode.TOO_LARGE
    assert ids(find(driver, vector=[0, 1, 0], limit=1)) == [3]


async def test_results_are_json(sandboxes: Sandboxes) -> None:
    driver = await sandboxes.add()

    result = find(driver, with_vector=True)

    assert json.loads(json.dumps(result, allow_nan=False)) == result


async def test_a_call_that_is_over_does_nothing(sandboxes: Sandboxes) -> None:
    driver = await sandboxes.add()
    call = a_call()
    call.cancel()

    with pytest.raises(ToolError) as caught:
        driver.upsert(call, {"collection": "docs", "points": [GOOD]})

    assert caught.value.code == ErrorCode.TIMEOUT
    assert len(ids(find(driver))) == 4
