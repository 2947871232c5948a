"""Populations of Qdrant: what is wrong names file and line, what is right is built once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sandbox_sdk.databases.population.contents import (
    Collection,
    Fixture,
    Population,
    PopulationError,
    Row,
    Script,
)
from sandbox_sdk.databases.qdrant.storage import Storage
from sandbox_sdk.databases.qdrant.template import build_template
from tests.sandbox_sdk.databases.qdrant.conftest import FILE, POINTS, SEED, population

GOOD = {"id": 1, "vector": [1, 0, 0]}


def build(population: Population, folder: Path) -> Path:
    return build_template(population, folder, lambda line: None)


@pytest.mark.parametrize(
    ("point", "reason"),
    [
        ({"id": 2, "vector": [1, 0]}, "vector has 2 dimensions, the collection has 3"),
        ({"id": 2, "vector": [1, float("nan"), 0]}, r"vector\[1\] is not a finite number"),
        ({"id": 2, "vector": [1, 0, 1e39]}, r"vector\[2\] is not a finite number"),
        ({"id": 2, "vector": [1, 0, 10**400]}, "too large for 32 bits"),
        ({"id": 2, "vector": [1, 0, "0"]}, r"vector\[2\] is not a number"),
        ({"id": 2, "vector": [1, 0, True]}, r"vector\[2\] is not a number"),
        ({"id": 2, "vector": {"a": [1, 0, 0]}}, "one unnamed vector"),
        ({"id": 2}, "vector is missing"),
        ({"vector": [1, 0, 0]}, "id is missing"),
        ({"id": 1, "vector": [0, 1, 0]}, "id 1 is there twice in collection 'docs'"),
        ({"id": "1", "vector": [0, 1, 0]}, "id '1' is there twice"),
        ({"id": -1, "vector": [1, 0, 0]}, "id -1 is neither"),
        ({"id": True, "vector": [1, 0, 0]}, "id True is neither"),
        ({"id": 2**64, "vector": [1, 0, 0]}, "is neither a whole number"),
        ({"id": "abc", "vector": [1, 0, 0]}, "id 'abc' is neither"),
        ({"id": 2, "vektor": [1, 0, 0]}, "'vektor' is no field of a point"),
        ({"id": 2, "vector": [1, 0, 0], "payload": [1]}, "payload is not an object"),
        ({"id": 2, "vector": [1, 0, 0], "payload": {"a": {"b": b"x"}}}, "payload.a.b is a bytes"),
        (
            {"id": 2, "vector": [1, 0, 0], "payload": {"a": [float("inf")]}},
            r"payload.a\[0\] is inf",
        ),
    ],
)
def test_a_bad_point_names_file_and_line(point: Any, reason: str, tmp_path: Path) -> None:
    with pytest.raises(PopulationError, match=reason) as caught:
        build(population(("docs", [GOOD, point])), tmp_path)

    assert (caught.value.file, caught.value.line) == (FILE, 21)
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == []


@pytest.mark.parametrize(
    ("collection", "reason"),
    [
        (Collection("docs", {}, {}, FILE, 7), "needs one unnamed vector"),
        (Collection("docs", {"": (2, "dot"), "a": (2, "dot")}, {}, FILE, 7), "needs one unnamed"),
        (Collection("docs", {"": (0, "dot")}, {}, FILE, 7), "has size 0"),
        (Collection("docs", {"": (65_537, "dot")}, {}, FILE, 7), "has size 65537"),
        (Collection("docs", {"": (2, "hamming")}, {}, FILE, 7), "unknown distance 'hamming'"),
        (Collection("docs", {"": (2, "dot")}, {"a": "string"}, FILE, 7), "no type 'string'"),
        (Collection("a/b", {"": (2, "dot")}, {}, FILE, 7), "cannot be the name"),
        (Collection("..", {"": (2, "dot")}, {}, FILE, 7), "cannot be the name"),
        (Collection("x" * 181, {"": (2, "dot")}, {}, FILE, 7), "cannot be the name"),
        (Collection("notes", {"": (2, "dot")}, {}, FILE, 7), "is there twice"),
    ],
)
def test_a_bad_collection_names_file_and_line(
    collection: Collection, reason: str, tmp_path: Path
) -> None:
    other = Collection("notes", {"": (2, "dot")}, {}, FILE, 5)

    with pytest.raises(PopulationError, match=reason) as caught:
        build(population(collections=(other, collection)), tmp_path)

    assert caught.value.line == 7


def test_points_of_no_collection_name_where_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(PopulationError, match=r"no collection 'dosc'.*docs, notes") as caught:
        build(population(("dosc", [GOOD])), tmp_path)

    assert caught.value.line == 15


def test_a_script_is_refused(tmp_path: Path) -> None:
    script = Population("kb", FILE, "d" * 64, schema=(Script(FILE, 4, "CREATE TABLE t ()"),))

    with pytest.raises(PopulationError, match="no statements") as caught:
        build(script, tmp_path)

    assert caught.value.line == 4


def test_points_are_kept_in_their_order_with_their_values(tmp_path: Path) -> None:
    with closing(Storage(build(SEED, tmp_path))) as storage:
        points, _ = storage.page("docs", size=10)
        notes, _ = storage.page("notes", size=10)

    assert [each.id for each in points] == [1, 2, 3, 4]
    assert POINTS[3]["payload"] == points[3].payload
    assert points[3].vector() == [0.0, 0.0, 1.0]
    assert notes[0].vector() == {"title": [1.0, 0.0]}


def test_two_at_once_build_it_once(tmp_path: Path) -> None:
    passes: list[int] = []
    both = threading.Barrier(2)

    def rows() -> Any:
        passes.append(1)
        yield Row(GOOD, FILE, 20)

    counted = Fixture("docs", FILE, 0, rows)
    seed = Population("kb", FILE, "d" * 64, fixtures=(counted,), collections=SEED.collections)

    def one() -> Path:
        both.wait(10)
        return build(seed, tmp_path)

    with ThreadPoolExecutor(2) as threads:
        built = {each.result() for each in [threads.submit(one), threads.submit(one)]}

    assert len(built) == 1
    assert passes == [1]


def test_another_digest_is_another_template(tmp_path: Path) -> None:
    first = build(population(("docs", [GOOD])), tmp_path)
    second = build(population(("docs", []), digest="e" * 64), tmp_path)

    with closing(Storage(first)) as one, closing(Storage(second)) as two:
        assert (one.count("docs"), two.count("docs")) == (1, 0)


def test_many_points_are_reported_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox_sdk.databases.qdrant.template.LARGE_POINTS", 1)
    lines: list[str] = []

    build_template(population(("docs", POINTS)), tmp_path, lines.append)

    assert len(lines) == 1
    assert "docs has 4 points" in lines[0]
