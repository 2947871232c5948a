"""Caps that say exactly whether there was more, and files that hold everything."""

import csv
import hashlib
import io
import json
from decimal import Decimal
from typing import Any

import pytest

from sandbox_sdk.databases.worker.driver import Call, Caps
from sandbox_sdk.databases.worker.rows import (
    PIECE_BYTES,
    Budget,
    Collecting,
    FileSink,
    cap_hits,
)
from tool_plugins.errors import ErrorCode, ToolError

CAPS = Caps(rows=3, bytes=1000, cell_chars=10)


def collect(rows: list[list[Any]], caps: Caps = CAPS) -> tuple[dict[str, Any], list[bool]]:
    sink = Collecting(caps)
    sink.columns([("a", "text")])
    taken = [sink.row(row) for row in rows]
    return sink.fields(), taken


@pytest.mark.parametrize(
    ("count", "truncated_by"), [(0, None), (2, None), (3, None), (4, "rows"), (9, "rows")]
)
def test_exactly_the_cap_is_not_truncated(count: int, truncated_by: str | None) -> None:
    fields, taken = collect([[n] for n in range(count)])

    assert fields["row_count"] == len(fields["rows"]) == min(count, 3)
    assert fields["truncated"] is (truncated_by is not None)
    assert fields["truncated_by"] == truncated_by
    assert taken == [n < 3 for n in range(count)]


def test_bytes_are_those_of_the_rows_as_json() -> None:
    row = ["äbc", 12]
    size = len(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()) + 1
    exact = Caps(rows=9, bytes=2 * size, cell_chars=10)

    assert collect([row, row], exact)[0]["truncated"] is False
    fields, taken = collect([row, row, row], exact)
    assert (len(fields["rows"]), fields["truncated_by"], taken[-1]) == (2, "bytes", False)
    fewer = Caps(rows=9, bytes=2 * size - 1, cell_chars=10)
    assert len(collect([row, row], fewer)[0]["rows"]) == 1


@pytest.mark.parametrize(
    ("value", "shown", "clipped"),
    [
        ("x" * 10, "x" * 10, 0),
        ("x" * 11, "x" * 10 + "… (11 characters)", 1),
        ("ä" * 11, "ä" * 10 + "… (11 characters)", 1),
        (Decimal("1234567890.5"), "1234567890… (12 characters)", 1),
        (b"123456", {"base64": "MTIzNDU2"}, 0),
        (b"1234567", {"base64": "MTIzNDU2", "bytes": 7}, 1),
        (b"", {"base64": ""}, 0),
        ([1, 2, 3], [1, 2, 3], 0),
        ([100, 2, 3], "[100, 2, 3… (11 characters)", 1),
    ],
)
def test_of_a_long_cell_the_beginning_is_shown(value: Any, shown: Any, clipped: int) -> None:
    fields, _ = collect([[value]])

    assert fields["rows"] == [[shown]]
    assert fields["clipped_cells"] == clipped
    assert fields["truncated"] is False


def test_the_statements_of_a_batch_share_the_caps() -> None:
    budget = Budget(CAPS)
    first, second = Collecting(CAPS, budget), Collecting(CAPS, budget)

    assert [first.row([1]), first.row([2]), second.row([3]), second.row([4])] == [
        True,
        True,
        True,
        False,
    ]
    assert first.returned()["truncated"] is False
    assert second.returned() == {"columns": [], "rows": [[3]], "truncated": True}


def written(
    file_format: Any, names: list[str], rows: list[list[Any]]
) -> tuple[list[bytes], dict[str, Any]]:
    pieces: list[bytes] = []
    sink = FileSink(file_format, Call(timeout_s=60, caps=CAPS), pieces.append)
    sink.columns([(name, "text") for name in names])
    assert all(sink.row(row) for row in rows)
    return pieces, sink.fields()


def test_a_csv_file_tells_null_from_empty_text() -> None:
    rows = [[1, None, ""], ["a,b", 'say "x"', "two\nlines"], [True, b"\xff", {"k": [1]}]]
    pieces, fields = written("csv", ["a", "b b", "c"], rows)

    text = b"".join(pieces).decode()
    assert text.splitlines()[:2] == ["a,b b,c", '1,,""']
    assert list(csv.reader(io.StringIO(text)))[2:] == [
        ["a,b", 'say "x"', "two\nlines"],
        ["true", "/w==", '{"k": [1]}'],
    ]
    assert fields["row_count"] == 3
    assert fields["bytes"] == len(text)
    assert fields["sha256"] == hashlib.sha256(text.encode()).hexdigest()


def test_a_jsonl_file_has_an_object_per_row_and_clips_nothing() -> None:
    pieces, fields = written("jsonl", ["a", "b"], [["ä" * 5000, None], [2**60, Decimal("1.0")]])

    objects = [json.loads(line) for line in b"".join(pieces).splitlines()]
    assert objects == [{"a": "ä" * 5000, "b": None}, {"a": str(2**60), "b": "1.0"}]
    assert fields["row_count"] == 2
    assert "truncated" not in fields


def test_a_jsonl_file_needs_names_that_differ() -> None:
    with pytest.raises(ToolError, match="two columns are named 'a'") as caught:
        written("jsonl", ["a", "b", "a"], [])

    assert caught.value.code == ErrorCode.INVALID_ARGUMENT
    assert written("csv", ["a", "b", "a"], [])[0] == [b"a,b,a\n"]


def test_a_large_file_leaves_in_pieces() -> None:
    pieces, fields = written("csv", ["a"], [["x" * 1000] for _ in range(1000)])

    assert len(pieces) > 3
    assert max(map(len, pieces)) <= PIECE_BYTES
    assert sum(map(len, pieces)) == fields["bytes"] == 2 + 1000 * 1001


def test_a_file_ends_with_its_call() -> None:
    call = Call(timeout_s=60, caps=CAPS)
    sink = FileSink("csv", call, lambda piece: None)
    call.cancel()

    with pytest.raises(ToolError) as caught:
        all(sink.row([1]) for _ in range(1000))
    assert caught.value.code == ErrorCode.TIMEOUT


def test_hits_are_cut_where_they_do_not_fit() -> None:
    hits = [{"id": n, "payload": "x" * 80} for n in range(5)]
    size = len(json.dumps(hits[0], separators=(",", ":"))) + 1

    assert cap_hits({"hits": hits}, 5 * size) == {"hits": hits}
    cut = cap_hits({"hits": hits}, 5 * size - 1)
    assert cut == {"hits": hits[:4], "truncated": True, "truncated_by": "bytes"}
