"""The driver as a worker uses it, on a copy its sandbox owns."""

import threading
from typing import Any

import pytest

from sandbox_sdk.databases.neo4j.driver import Neo4jDriver
from sandbox_sdk.databases.worker.driver import Caps, Statement, Transaction
from sandbox_sdk.databases.worker.rows import Collecting
from tool_plugins.errors import ErrorCode, ToolError

from .graph import CAPS, WRITER, World, call_of, execute, opened, query

VALUES: dict[str, tuple[str, str, Any]] = {
    "null": ("null", "ANY", None),
    "whole": ("7", "INTEGER", 7),
    "large": ("9223372036854775807", "INTEGER", "9223372036854775807"),
    "float": ("1.5", "FLOAT", 1.5),
    "not a number": ("0.0 / 0.0", "FLOAT", "NaN"),
    "text": ("'ä;\\n'", "STRING", "ä;\n"),
    "truth": ("true", "BOOLEAN", True),
    "list": ("[1, 'a', null]", "LIST", [1, "a", None]),
    "map": ("{a: {b: [1]}}", "MAP", {"a": {"b": [1]}}),
    "date": ("date('2024-02-29')", "DATE", "2024-02-29"),
    "time": ("time('12:30:01.5+01:00')", "TIME", "12:30:01.500000000+01:00"),
    "datetime": (
        "datetime('2024-02-29T12:30:01Z')",
        "DATETIME",
        "2024-02-29T12:30:01.000000000+00:00",
    ),
    "local": ("localdatetime('2024-02-29T12:30')", "DATETIME", "2024-02-29T12:30:00.000000000"),
    "duration": ("duration('P1M2DT3H')", "DURATION", "P1M2DT3H"),
    "point": ("point({x: 1, y: 2})", "POINT", {"srid": 7203, "x": 1.0, "y": 2.0}),
    "place": (
        "point({longitude: 2.35, latitude: 48.85})",
        "POINT",
        {"srid": 4326, "longitude": 2.35, "latitude": 48.85},
    ),
    "nested": (
        "[date('2024-01-01'), {d: duration('PT1S')}]",
        "LIST",
        ["2024-01-01", {"d": "PT1S"}],
    ),
}


def begin(driver: Neo4jDriver, *, read_only: bool = False) -> Transaction:
    return driver.begin(call_of(), read_only=read_only, isolation=None)


def run(transaction: Transaction, text: str, params: Any = None) -> list[list[Any]]:
    sink = Collecting(CAPS)
    transaction.execute(call_of(), Statement(text, params), sink)
    return sink.fields()["rows"]


def read(transaction: Transaction, text: str) -> list[list[Any]]:
    sink = Collecting(CAPS)
    transaction.query(call_of(), Statement(text), sink)
    return sink.fields()["rows"]


@pytest.mark.parametrize("name", VALUES)
def test_a_value_keeps_its_meaning(name: str, reader: Neo4jDriver) -> None:
    text, kind, expected = VALUES[name]

    answer = query(reader, f"RETURN {text} AS value")

    assert answer.columns == [{"name": "value", "type": kind}]
    assert answer.rows == [[expected]]


def test_nodes_relationships_and_paths_are_objects(reader: Neo4jDriver) -> None:
    text = "MATCH path = (p:Person {id: 1})-[r:LIVES_IN]->(c) RETURN p, r, c.name, path"

    ((person, link, city, path),) = query(reader, text).rows

    assert person["labels"] == ["Admin", "Person"]
    assert person["properties"] == {"id": 1, "name": "Ada", "born": 1815, "note": "one; two"}
    assert (link["type"], link["properties"]) == ("LIVES_IN", {"since": 1990})
    assert link["start"] == person["id"]
    assert city == "Paris"
    assert [node["labels"] for node in path["nodes"]] == [["Admin", "Person"], ["City"]]
    assert path["relationships"] == [link]


@pytest.mark.parametrize("value", [1, 2.5, "a'; DROP", None, [1, 2], {"a": [1]}, True])
def test_a_parameter_comes_back_as_it_was(value: Any, reader: Neo4jDriver) -> None:
    assert query(reader, "RETURN $value", {"value": value}).rows == [[value]]


def test_bytes_are_stored_and_found(owner: Neo4jDriver) -> None:
    execute(owner, "CREATE (:Blob {data: $data})", {"data": {"base64": "AAEC/w=="}})

    assert query(owner, "MATCH (b:Blob) RETURN b.data").rows == [[{"base64": "AAEC/w=="}]]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ([1], "no positional parameters"),
        ({"x": 2**63}, "cannot be sent"),
        ({"x": {"base64": "!"}}, "base64"),
    ],
)
def test_a_parameter_that_cannot_be_sent_is_refused(
    params: Any, words: str, reader: Neo4jDriver
) -> None:
    with pytest.raises(ToolError, match=words) as caught:
        query(reader, "RETURN $x", params)

    assert caught.value.code == ErrorCode.INVALID_ARGUMENT
    assert query(reader, "RETURN $x", {"x": 2**63 - 1}).rows == [[str(2**63 - 1)]]


def test_a_mistake_is_named_with_its_place(reader: Neo4jDriver) -> None:
    with pytest.raises(ToolError) as caught:
        query(reader, "MATCH (p:Person)\nRETRUN p")

    assert caught.value.code == ErrorCode.QUERY_ERROR
    assert "RETRUN" in caught.value.message
    assert caught.value.details["line"] == 2
    assert caught.value.details["position"] == 17


def test_no_more_rows_are_taken_than_are_wanted(reader: Neo4jDriver) -> None:
    call = call_of(caps=Caps(rows=3, bytes=100_000, cell_chars=100))

    assert query(reader, "UNWIND range(1, 3) AS x RETURN x", call=call).truncated is False
    answer = query(reader, "UNWIND range(1, 1000000) AS x RETURN x", call=call)
    assert (answer.rows, answer.truncated) == ([[1], [2], [3]], True)


def test_a_plan_is_given_and_nothing_is_run(owner: Neo4jDriver) -> None:
    transaction = begin(owner)
    try:
        plan = transaction.explain(
            call_of(), Statement("MATCH (p:Person {id: $id}) SET p.seen = 1", {"id": 1})
        )
    finally:
        transaction.rollback()

    assert plan.splitlines()[0].startswith("ProduceResults")
    assert "  " in plan.splitlines()[-1]
    assert "NodeUniqueIndexSeek" in plan
    assert query(owner, "MATCH (p:Person) WHERE p.seen = 1 RETURN count(p)").rows == [[0]]


def test_what_is_committed_stays_and_what_is_rolled_back_does_not(owner: Neo4jDriver) -> None:
    for keep in (True, False):
        transaction = begin(owner)
        run(transaction, "CREATE (:Kept {keep: $keep})", {"keep": keep})
        assert read(transaction, "MATCH (k:Kept {keep: false}) RETURN count(k)") == [
            [int(not keep)]
        ]
        if keep:
            transaction.commit(call_of())
        transaction.rollback()

    assert query(owner, "MATCH (k:Kept) RETURN k.keep").rows == [[True]]


def test_a_statement_says_what_it_did(owner: Neo4jDriver) -> None:
    answer = execute(owner, "CREATE (n:Told {a: 1}) RETURN n.a AS a")

    assert answer.rows == [[1]]
    assert answer.status == "1 nodes created, 1 properties set, 1 labels added"
    assert execute(owner, "MATCH (n:Told) RETURN 1").status == "nothing changed"


def test_an_error_ends_a_transaction_and_all_of_it_is_undone(owner: Neo4jDriver) -> None:
    transaction = begin(owner)
    run(transaction, "CREATE (:Lost)")
    with pytest.raises(ToolError) as first:
        run(transaction, "CREATE (:Person {id: 1})")
    with pytest.raises(ToolError) as second:
        run(transaction, "RETURN 1")
    with pytest.raises(ToolError) as third:
        transaction.commit(call_of())

    assert first.value.code == ErrorCode.QUERY_ERROR
    assert "already exists" in first.value.message
    assert first.value.details["ended"] is True
    assert second.value.code == third.value.code == ErrorCode.TRANSACTION_ENDED
    assert query(owner, "MATCH (n:Lost) RETURN count(n)").rows == [[0]]


def test_a_bad_parameter_ends_no_transaction(owner: Neo4jDriver) -> None:
    transaction = begin(owner)
    try:
        with pytest.raises(ToolError):
            run(transaction, "RETURN $x", [1])
        with pytest.raises(ToolError):
            run(transaction, "RETURN $x", {"x": 2**64})

        assert run(transaction, "RETURN $x", {"x": 1}) == [[1]]
    finally:
        transaction.rollback()


def test_a_query_in_a_writing_transaction_does_not_write(owner: Neo4jDriver) -> None:
    transaction = begin(owner)
    run(transaction, "CREATE (:Mine)")
    with pytest.raises(ToolError) as caught:
        read(transaction, "CREATE (:NotMine)")

    assert caught.value.code == ErrorCode.PERMISSION_DENIED
    assert read(transaction, "MATCH (n:Mine) RETURN count(n)") == [[1]]
    transaction.commit(call_of())
    assert query(owner, "MATCH (n:NotMine) RETURN count(n)").rows == [[0]]
    assert query(owner, "MATCH (n:Mine) RETURN count(n)").rows == [[1]]


def test_a_transaction_to_read_refuses_to_write(owner: Neo4jDriver) -> None:
    transaction = begin(owner, read_only=True)
    with pytest.raises(ToolError, match="read access mode") as caught:
        run(transaction, "CREATE (:Never)")
    transaction.rollback()

    assert caught.value.code == ErrorCode.PERMISSION_DENIED


def test_an_unknown_isolation_level_is_refused(owner: Neo4jDriver) -> None:
    with pytest.raises(ToolError) as caught:
        owner.begin(call_of(), read_only=True, isolation="serializable")
    owner.begin(call_of(), read_only=True, isolation="read committed").rollback()

    assert caught.value.code == ErrorCode.UNSUPPORTED


def test_a_writer_changes_data_but_no_indexes_and_an_owner_both(
    writer: Neo4jDriver, owner: Neo4jDriver
) -> None:
    index = "CREATE INDEX thing_name FOR (t:Thing) ON (t.name)"
    execute(writer, "CREATE (:Thing {name: 'a'})")
    with pytest.raises(ToolError, match="indexes and constraints") as caught:
        execute(writer, index)
    assert caught.value.code == ErrorCode.PERMISSION_DENIED
    assert query(owner, "SHOW INDEXES YIELD name WHERE name = 'thing_name'").rows == []

    execute(owner, index)
    with pytest.raises(ToolError, match="indexes and constraints"):
        execute(writer, "DROP INDEX thing_name")
    assert query(owner, "SHOW INDEXES YIELD name WHERE name = 'thing_name'").rows == [
        ["thing_name"]
    ]
    execute(owner, "DROP INDEX thing_name")


@pytest.mark.parametrize(
    "text",
    [
        "CREATE USER eve SET PASSWORD 'bbbbbbbb'",
        "ALTER USER neo4j SET PASSWORD 'bbbbbbbb'",
        "DROP USER neo4j",
    ],
)
def test_not_even_an_owner_changes_users(text: str, world: World, owner: Neo4jDriver) -> None:
    with pytest.raises(ToolError, match="users and databases") as caught:
        execute(owner, text)

    assert caught.value.code == ErrorCode.PERMISSION_DENIED
    assert query(owner, "SHOW USERS YIELD user").rows == [["neo4j"], ["sandbox"]]
    execute(owner, "CREATE (:User {name: 'eve'})")


def test_of_two_that_lock_each_other_one_is_told_to_try_again(owner: Neo4jDriver) -> None:
    execute(owner, "CREATE (:Lock {name: 'a', n: 0}), (:Lock {name: 'b', n: 0})")
    touch = "MATCH (l:Lock {name: $name}) SET l.n = l.n + 1"
    barrier, outcomes = threading.Barrier(2), []

    def work(first: str, second: str) -> None:
        transaction = begin(owner)
        try:
            run(transaction, touch, {"name": first})
            barrier.wait(60)
            run(transaction, touch, {"name": second})
            transaction.commit(call_of())
            outcomes.append("committed")
        except ToolError as error:
            outcomes.append(str(error.code))
        finally:
            transaction.rollback()

    threads = [threading.Thread(target=work, args=names) for names in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(outcomes) == ["CONFLICT", "committed"]
    assert query(owner, "MATCH (l:Lock) RETURN l.n").rows == [[1], [1]]


def test_a_full_pool_says_so_and_is_usable_after(world: World) -> None:
    with opened(world.copies[WRITER], pool_size=1, pool_timeout=0.2) as driver:
        held = begin(driver)
        with pytest.raises(ToolError) as caught:
            query(driver, "RETURN 1")
        held.rollback()

        assert caught.value.code == ErrorCode.BUSY
        assert query(driver, "RETURN 1").rows == [[1]]


def test_a_pool_gives_nothing_on_to_the_next_caller(world: World) -> None:
    with opened(world.copies[WRITER], pool_size=1) as driver:
        transaction = begin(driver)
        run(transaction, "CREATE (:Unfinished)")
        run(transaction, "CALL tx.setMetaData({who: 'me'})")
        transaction.rollback()

        assert query(driver, "MATCH (n:Unfinished) RETURN count(n)").rows == [[0]]
        ((metadata,),) = query(driver, "SHOW TRANSACTIONS YIELD metaData").rows
        assert "who" not in metadata


@pytest.mark.parametrize(
    ("settings", "credential"),
    [({"uri": "bolt://127.0.0.1:1"}, None), ({"password": "wrong-password"}, True)],
)
def test_a_server_that_cannot_be_used_is_unavailable(
    settings: dict[str, Any], credential: bool | None, world: World
) -> None:
    with (
        opened(world.copies[WRITER], **settings) as driver,
        pytest.raises(ToolError) as caught,
    ):
        query(driver, "RETURN 1")

    assert caught.value.code == ErrorCode.DATABASE_UNAVAILABLE
    assert caught.value.details["sent"] is False
    assert caught.value.details.get("credential") is credential


def test_without_any_right_nothing_is_asked(world: World) -> None:
    with opened(world.copies[WRITER], access="none") as driver, pytest.raises(ToolError) as caught:
        query(driver, "RETURN 1")

    assert caught.value.code == ErrorCode.PERMISSION_DENIED


def test_a_cancelled_transaction_ends_and_its_connection_is_used_again(world: World) -> None:
    with opened(world.copies[WRITER], pool_size=1) as driver:
        call = call_of()
        transaction = begin(driver)
        run(transaction, "CREATE (:Cancelled)")
        threading.Timer(0.3, call.cancel).start()
        endless = "UNWIND range(1, 10000000) AS a UNWIND range(1, 10000000) AS b RETURN count(*)"
        with pytest.raises(ToolError) as caught:
            transaction.execute(call, Statement(endless), Collecting(CAPS))

        assert caught.value.code == ErrorCode.TIMEOUT
        assert query(driver, "MATCH (n:Cancelled) RETURN count(n)").rows == [[0]]
