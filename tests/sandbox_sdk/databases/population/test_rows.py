"""Rows out of CSV and JSON lines: values, lines, what is refused, and how much memory it takes."""

import tracemalloc
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sandbox_sdk.databases.population.contents import Fixture, PopulationError, Row
from sandbox_sdk.databases.population.files import MAX_LINE_BYTES
from sandbox_sdk.databases.population.load import load_population

Read = Callable[..., list[Row]]


@pytest.fixture
def fixture_of(tmp_path: Path) -> Callable[..., Fixture]:
    def load(name: str, content: str | bytes, **more: Any) -> Fixture:
        source = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(source)
        extra = "".join(f", {key}: {value}" for key, value in more.items())
        (tmp_path / "p.yaml").write_text(
            f"databases: {{d: {{fixtures: [{{table: t, file: {name}{extra}}}]}}}}"
        )
        (fixture,) = load_population(tmp_path / "p.yaml", {"d": "sqlite"})["d"].fixtures
        assert isinstance(fixture, Fixture)
        return fixture

    return load


@pytest.fixture
def read(fixture_of: Callable[..., Fixture]) -> Read:
    return lambda *args, **more: list(fixture_of(*args, **more).rows())


CSV = {
    "plain": ("a,b\n1,x\n", [{"a": "1", "b": "x"}]),
    "no last line end": ("a,b\n1,x", [{"a": "1", "b": "x"}]),
    "lines as on Windows": ("a,b\r\n1,x\r\n", [{"a": "1", "b": "x"}]),
    "a byte order mark": ("\ufeffa,b\n1,\ufeff", [{"a": "1", "b": "\ufeff"}]),
    "only a header": ("a,b\n", []),
    "blank lines": ("\na,b\n\n1,x\n\n\n2,y\n\n", [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]),
    "quoted": ('a,"b, c"\n"1,2","x ""y"""\n', [{"a": "1,2", "b, c": 'x "y"'}]),
    "a line end within quotes": ('a,b\n"1\r\n\n2",x\n', [{"a": "1\r\n\n2", "b": "x"}]),
    "a quote within a word": ('a,b\n5" pipe, x\n', [{"a": '5" pipe', "b": " x"}]),
    "empty is NULL": ("a,b\n,\n", [{"a": None, "b": None}]),
    "quoted empty is not": ('a,b\n"",""\n', [{"a": "", "b": ""}]),
    "first NULL, then empty": ('a,b\n,""\r\n', [{"a": None, "b": ""}]),
    "first empty, then NULL": ('a,b\n"",', [{"a": "", "b": None}]),
    "quotes that look empty": ('a,b,c\n"x,"""",y",,""""\n', [{"a": 'x,"",y', "b": None, "c": '"'}]),
    "empty beside lines": ('a,b,c\n"1\n,"""",\n","",\n', [{"a": '1\n,"",\n', "b": "", "c": None}]),
    "one empty cell": ('a\n""\n', [{"a": ""}]),
    "no number, no date, no truth": (
        "a,b,c\n007,2024-01-31,true\n",
        [{"a": "007", "b": "2024-01-31", "c": "true"}],
    ),
}


@pytest.mark.parametrize(("text", "rows"), CSV.values(), ids=CSV)
def test_csv_is_read(read: Read, text: str, rows: list[dict[str, Any]]) -> None:
    assert rows == [row.values for row in read("t.csv", text)]


BAD_CSV = {
    "no header": ("", 1, "has no header"),
    "a column without name": ("a,,c\n", 1, "column 2 has no name"),
    "a column of blanks": ('a," "\n', 1, "column 2 has no name"),
    "two columns of one name": ("\n\na,b,a\n", 3, "two columns are named 'a'"),
    "too many cells": ("a,b\n1,x\n2,y,z\n", 3, "has 3 cells, the header names 2 columns"),
    "too few cells": ("a,b\n1,x\n\n2\n", 4, "has 1 cells, the header names 2 columns"),
    "text after a quote": ('a,b\n"1"x,2\n', 2, "is not CSV"),
    "an open quote": ('a,b\n1,2\n"3,4\n5,6\n', 3, "is not CSV"),
    "an open quote in a large file": ('a\n"' + "x\n" * 70_000, 2, "field limit"),
    "a line end of long ago": ("a,b\r1,2\r", 1, "is not CSV"),
    "Latin 1": ("a,b\n1,x\n2,né\n".encode("latin-1"), 3, "is not UTF-8"),
    "UTF-16": ("a,b\n".encode("utf-16"), 1, "is not UTF-8"),
    "a NUL": ("a,b\n1,\0\n", 2, "NUL"),
    "a line without end": ("a\n1\n" + "," * (MAX_LINE_BYTES + 1), 3, "the line is longer"),
    "a bad row after a record of lines": ('a,b\n"1\n2\n3",x\n4\n', 5, "has 1 cells"),
}


@pytest.mark.parametrize(("text", "line", "reason"), BAD_CSV.values(), ids=BAD_CSV)
def test_bad_csv_is_refused_with_its_line(
    read: Read, tmp_path: Path, text: str | bytes, line: int, reason: str
) -> None:
    with pytest.raises(PopulationError) as error:
        read("t.csv", text)

    assert (tmp_path / "t.csv", line) == (error.value.file, error.value.line)
    assert str(error.value).startswith(f"{tmp_path / 't.csv'}:{line}:")
    assert reason in str(error.value)


def test_rows_know_their_line_and_how_far_the_file_is_read(read: Read) -> None:
    rows = read("t.csv", 'a,b\n1,x\n\n"2\n2",é\n3,z')

    assert [row.line for row in rows] == [2, 4, 6]
    assert [row.offset for row in rows] == [8, 18, 21]


def test_cells_get_the_type_that_is_written_for_their_column(read: Read) -> None:
    types = "{i: integer, n: number, b: boolean, j: json, t: text}"
    header = "i,n,b,j,t,u\n"
    text = header + '-7,12.50,TRUE,"{""a"": [1.10]}",1,1\n,,,,,\n+0012,3,false,null,"",""\n'

    first, second, third = (row.values for row in read("t.csv", text, types=types))

    assert {
        "i": -7,
        "n": Decimal("12.50"),
        "b": True,
        "j": {"a": [Decimal("1.10")]},
        "t": "1",
        "u": "1",
    } == first
    assert str(first["n"]) == "12.50"
    assert dict.fromkeys("inbjtu") == second
    assert third == {"i": 12, "n": 3, "b": False, "j": None, "t": "", "u": ""}


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        ("integer", "1.0"),
        ("integer", "x"),
        ("integer", "--1"),
        ("integer", "\u0661"),
        ("integer", '""'),
        ("number", "NaN"),
        ("number", "1_0"),
        ("number", "true"),
        ("number", "1e999"),
        ("boolean", "yes"),
        ("boolean", "1"),
        ("json", "{"),
    ],
)
def test_a_cell_that_does_not_fit_its_type_is_refused(read: Read, kind: str, cell: str) -> None:
    good = {"integer": "1", "number": "1", "boolean": "true", "json": "[]"}[kind]

    with pytest.raises(PopulationError, match=r"t\.csv:3: column 'b': "):
        read("t.csv", f"a,b\n1,{good}\n2,{cell}\n", types=f"{{b: {kind}}}")


def test_a_type_needs_its_column(read: Read) -> None:
    with pytest.raises(PopulationError, match=r"t\.csv:1: .*'nmae'.*did you mean 'name'"):
        read("t.csv", "id,name\n", types="{nmae: integer}")


JSONL = {
    "plain": ('{"a": 1, "b": "x"}\n', [{"a": 1, "b": "x"}]),
    "blank lines and a mark": ('\ufeff\n{"a": 1}\r\n \n{"a": 2}', [{"a": 1}, {"a": 2}]),
    "every kind of value": (
        '{"a": null, "b": true, "c": [1, {"d": 2}], "e": {}, "f": 12345678901234567890123}',
        [{"a": None, "b": True, "c": [1, {"d": 2}], "e": {}, "f": 12345678901234567890123}],
    ),
    "exact numbers": ('{"a": 0.10, "b": 1e2}', [{"a": Decimal("0.10"), "b": Decimal("1e2")}]),
    "bytes": ('{"a": {"base64": "AAH/"}}', [{"a": b"\x00\x01\xff"}]),
    "a document that looks like bytes": (
        '{"a": [{"base64": "AA=="}], "b": {"base64": 1}, "c": {"base64": "x", "y": 1}}',
        [{"a": [{"base64": "AA=="}], "b": {"base64": 1}, "c": {"base64": "x", "y": 1}}],
    ),
}


@pytest.mark.parametrize(("text", "rows"), JSONL.values(), ids=JSONL)
def test_json_lines_are_read(read: Read, text: str, rows: list[dict[str, Any]]) -> None:
    assert rows == [row.values for row in read("t.jsonl", text)]


def test_exact_numbers_keep_their_zeros(read: Read) -> None:
    (row,) = read("t.jsonl", '{"a": 12.50}')

    assert str(row.values["a"]) == "12.50"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "Expecting"),
        ('{"a": 1} {"a": 2}', "Extra data"),
        ("[1]", "must be an object"),
        ("{}", "not empty"),
        ("null", "must be an object"),
        ('{"a": NaN}', "NaN is not a number"),
        ('{"a": -Infinity}', "-Infinity is not a number"),
        ('{"a": 1e999}', "too large"),
        ('{"a": ' + "9" * 5000 + "}", "digits"),
        ('{"a": 1, "a": 2}', "the key 'a' stands there twice"),
        ('{"a": {"b": 1, "b": 2}}', "the key 'b' stands there twice"),
        ('{"a": ' + "[" * 100_000, "nested"),
        ('{"a": {"base64": "A"}}', "Base64"),
        ('{"a": {"base64": "AA==\\n"}}', "Base64"),
        ('{"a": "\0"}', "NUL"),
    ],
)
def test_a_bad_json_line_is_refused(read: Read, line: str, reason: str) -> None:
    with pytest.raises(PopulationError, match=r"t\.jsonl:2: ") as error:
        read("t.jsonl", f'{{"a": 1}}\n{line}\n')

    assert reason in str(error.value)


def test_rows_start_anew_each_time(fixture_of: Callable[..., Fixture]) -> None:
    fixture = fixture_of("t.csv", "a\n1\n2\n")
    half = fixture.rows()
    next(half)

    assert [row.values["a"] for row in fixture.rows()] == ["1", "2"]
    assert [row.values["a"] for row in half] == ["2"]


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_a_file_that_changes_after_loading_is_not_used(
    fixture_of: Callable[..., Fixture], tmp_path: Path, name: str
) -> None:
    fixture = fixture_of(name, "a\n1\n" if name == "t.csv" else '{"a": 1}\n{"a": 2}\n')
    rows = fixture.rows()
    next(rows)
    with (tmp_path / name).open("a") as file:
        file.write("\n")

    with pytest.raises(PopulationError, match="was changed after"):
        list(rows)
    with pytest.raises(PopulationError, match="was changed after"):
        list(fixture.rows())
    (tmp_path / name).unlink()
    with pytest.raises(PopulationError, match="cannot be read"):
        list(fixture.rows())


def lines_of(name: str) -> tuple[str, Iterator[str]]:
    text = "x" * 400
    if name == "t.csv":
        return "id,text\n", (f'{n},"{text}"\n' for n in range(20_000))
    return "", (f'{{"id": {n}, "text": "{text}"}}\n' for n in range(20_000))


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_a_large_file_is_never_held_in_memory(
    fixture_of: Callable[..., Fixture], name: str
) -> None:
    header, lines = lines_of(name)
    fixture = fixture_of(name, header + "".join(lines))
    assert fixture.size > 8_000_000

    tracemalloc.start()
    try:
        count = sum(1 for _ in fixture.rows())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert count == 20_000
    assert peak < 500_000
