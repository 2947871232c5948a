"""YAML documents: what is refused, where, and the nearest thing that is read."""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sandbox_sdk.documents import (
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_VALUES,
    DocumentError,
    expand,
    load_document,
    parse_document,
)
from tool_plugins.errors import ConfigurationError

FILE = Path("some.yaml")


def read(text: str | bytes, **options: Any) -> Any:
    source = text.encode() if isinstance(text, str) else text
    return parse_document(source, FILE, **options).data


@dataclass
class Case:
    """A document that is refused, at a place and with a word, and its twin that is read."""

    refused: str | bytes
    place: str
    word: str
    twin: str | bytes
    data: Any


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


def a_list(levels: int) -> Any:
    return [a_list(levels - 1)] if levels > 1 else []


CASES = {
    "a call": Case(
        "a: !!python/object/apply:os.system [id]", "1:4", "tags", "a: [id]", {"a": ["id"]}
    ),
    "a Python name": Case(
        "a:\n  - !!python/name:os.system x", "2:5", "tags", "a:\n  - x", {"a": ["x"]}
    ),
    "a tuple": Case("!!python/tuple [1]", "1:1", "tags", "[1]", [1]),
    "a tag of one's own": Case("a: !env HOME", "1:4", "!env", "a: '!env HOME'", {"a": "!env HOME"}),
    "a tag of YAML": Case("a: !!str 1", "1:4", "tags", "a: '1'", {"a": "1"}),
    "a float by tag": Case("a: !!float 1e999", "1:4", "tags", "a: 1e99", {"a": 1e99}),
    "the empty tag": Case("a: ! x", "1:4", "tags", "a: x", {"a": "x"}),
    "a tag on a mapping": Case("a: !!map {}", "1:4", "tags", "a: {}", {"a": {}}),
    "a tag on a key": Case("!!str a: 1", "1:1", "tags", "a: 1", {"a": 1}),
    "an anchor": Case("a: &x 1", "1:4", "anchors", "a: '&x 1'", {"a": "&x 1"}),
    "an alias": Case("a: *x", "1:4", "aliases", "a: '*x'", {"a": "*x"}),
    "an anchor that holds itself": Case("&x [*x]", "1:1", "anchors", "[[]]", [[]]),
    "a merge": Case(
        "a: 1\n<<: {b: 2}", "2:1", "merge", "a: 1\n'<<': {b: 2}", {"a": 1, "<<": {"b": 2}}
    ),
    "a key twice": Case(
        "a: 1\nb: 2\n'a': 3", "3:1", "first in line 1", "a: 1\nb: 2\nc: 3", {"a": 1, "b": 2, "c": 3}
    ),
    "a key twice, within": Case(
        "x: {a: 1, a: 1}", "1:11", "twice", "x: [{a: 1}, {a: 1}]", {"x": [{"a": 1}, {"a": 1}]}
    ),
    "a number as key": Case("1: a", "1:1", "key", "'1': a", {"1": "a"}),
    "null as key": Case("~: a", "1:1", "key", "'~': a", {"~": "a"}),
    "a boolean as key": Case("true: a", "1:1", "key", "on: a", {"on": "a"}),
    "a list as key": Case("[a]: 1", "1:1", "key", "'[a]': 1", {"[a]": 1}),
    "two documents": Case(
        "a: 1\n---\nb: 2", "2:1", "single document", "---\na: 1\n...\n", {"a": 1}
    ),
    "no document": Case("# nothing", "1:1", "empty", "null", None),
    "an empty file": Case(b"", "1:1", "empty", "{}", {}),
    "an older YAML": Case("%YAML 1.1\n---\na: 1", "1:1", "directives", "---\na: 1", {"a": 1}),
    "a handle for tags": Case(
        "%TAG ! tag:x,2000:\n---\na: 1", "1:1", "directives", "# %TAG\n---\na: 1", {"a": 1}
    ),
    "nested too deeply": Case(
        nested(MAX_DEPTH + 1), f"1:{MAX_DEPTH + 1}", "deep", nested(MAX_DEPTH), a_list(MAX_DEPTH)
    ),
    "nested beyond any stack": Case("[" * 1_000_000, f"1:{MAX_DEPTH + 1}", "deep", "[]", []),
    "a NUL": Case("a: x\0y", "1:5", "U+0000", 'a: "x\\0y"', {"a": "x\0y"}),
    "an escape character": Case(
        "a: 1\nb: \x1b[0m", "2:4", "U+001B", 'b: "\\e[0m"', {"b": "\x1b[0m"}
    ),
    "a line separator": Case("a: x\u2028y", "1:5", "U+2028", 'a: "x\\u2028y"', {"a": "x\u2028y"}),
    "UTF-16": Case("a: 1".encode("utf-16"), "1:1", "UTF-8", b"\xef\xbb\xbfa: 1", {"a": 1}),
    "UTF-16 without a mark": Case("a: 1".encode("utf-16-le"), "1:2", "U+0000", "a: 1", {"a": 1}),
    "Latin 1": Case("a: 1\nb: né".encode("latin-1"), "2:5", "UTF-8", "a: né", {"a": "né"}),
    "a tab as indentation": Case(
        "a:\n\tb: 1", "2:1", "cannot start", "a:\n  b:\t1", {"a": {"b": 1}}
    ),
    "an open bracket": Case(
        "a: 1\nb: [1,\n2", "4:1", "begins in line 2", "b: [1,\n2]", {"b": [1, 2]}
    ),
    "an unknown escape": Case('a: "\\q"', "1:5", "escape", "a: '\\q'", {"a": "\\q"}),
    "two colons": Case("a: b: c", "1:5", "not allowed", "a: b:c", {"a": "b:c"}),
    "a zero in front": Case("a: 017", "1:4", "'017'", "a: '017'", {"a": "017"}),
    "a zero in front of a decimal": Case("a: 01.5", "1:4", "'01.5'", "a: 0.15", {"a": 0.15}),
    "hexadecimal": Case("a: 0x1F", "1:4", "'0x1F'", "a: 31", {"a": 31}),
    "octal": Case("a: 0o17", "1:4", "'0o17'", "a: 15", {"a": 15}),
    "binary": Case("a: -0b1", "1:4", "'-0b1'", "a: -1", {"a": -1}),
    "an underscore": Case("a: 1_000", "1:4", "'1_000'", "a: a_000", {"a": "a_000"}),
    "infinity": Case("a: -.inf", "1:4", "'-.inf'", "a: -inf", {"a": "-inf"}),
    "not a number": Case("a: .NaN", "1:4", "'.NaN'", "a: NaN", {"a": "NaN"}),
    "an endless number": Case("a: 1e999", "1:4", "too large", "a: 1e307", {"a": 1e307}),
    "a vanishing number": Case("a: 1e-999", "1:4", "too small", "a: 0.0", {"a": 0.0}),
    "too many digits": Case(
        "a: " + "9" * (MAX_DIGITS + 1),
        "1:4",
        "digits",
        "a: " + "9" * MAX_DIGITS,
        {"a": int("9" * MAX_DIGITS)},
    ),
    "too many decimals": Case("a: 1." + "9" * MAX_DIGITS, "1:4", "digits", "a: 1.9", {"a": 1.9}),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_document_is_refused_with_its_place(case: Case) -> None:
    with pytest.raises(DocumentError) as error:
        read(case.refused)

    assert str(error.value).startswith(f"{FILE}:{case.place}: ")
    assert case.word in str(error.value)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_its_twin_is_read(case: Case) -> None:
    assert case.data == read(case.twin)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("TRUE", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("Off", "Off"),
        ("y", "y"),
        ("12:30:45", "12:30:45"),
        ("2024-01-31", "2024-01-31"),
        ("2024-01-31T12:00:00Z", "2024-01-31T12:00:00Z"),
        ("1.2.3", "1.2.3"),
        ("+49-30", "+49-30"),
        ("=", "="),
        ("0", 0),
        ("-0", 0),
        ("+7", 7),
        ("12345678901234567890123", 12345678901234567890123),
        ("'true'", "true"),
        ('"12"', "12"),
        ("|\n  12\n", "12\n"),
        (">-\n  a\n  b\n", "a b"),
    ],
)
def test_a_value_is_what_it_looks_like(text: str, value: Any) -> None:
    found = read(f"a: {text}")["a"]

    assert (type(value), value) == (type(found), found)


@pytest.mark.parametrize("text", ["12.50", "-0.1", ".5", "1e3", "1.", "0.10000000000000000000001"])
def test_decimal_numbers_are_exact_where_asked_for(text: str) -> None:
    exact, rounded = read(f"a: {text}", exact=True)["a"], read(f"a: {text}")["a"]

    assert (Decimal, str(Decimal(text))) == (type(exact), str(exact))
    assert (float, float(text)) == (type(rounded), rounded)


def test_a_document_may_not_be_larger_than_said() -> None:
    text = "a: 123"

    assert read(text, max_bytes=6) == {"a": 123}
    with pytest.raises(DocumentError, match="is larger than 5 bytes"):
        read(text, max_bytes=5)


def test_a_document_may_not_have_more_values_than_memory_is_meant_for() -> None:
    most = MAX_VALUES - 1  # the list counts too

    assert most == len(read(f"[{'a,' * most}]"))
    with pytest.raises(DocumentError, match="more than"):
        read(f"[{'a,' * (most + 1)}]")


def test_a_file_larger_than_allowed_is_not_read_to_its_end(tmp_path: Path) -> None:
    endless = tmp_path / "large.yaml"
    with endless.open("wb") as file:
        file.truncate(500 * 1024**3)

    with pytest.raises(DocumentError, match="is larger than"):
        load_document(endless)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("a: 1")

    assert load_document(tmp_path / "good.yaml").data == {"a": 1}
    with pytest.raises(DocumentError, match="not a regular file"):
        load_document(Path("/dev/zero"))
    with pytest.raises(DocumentError, match=r"missing\.yaml: there is no such file"):
        load_document(tmp_path / "missing.yaml")


LINES = """\
# a comment
shop:
  schema: |
    CREATE TABLE t;

  rows:
    - {id: 1}
    -
      id: 2
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 2),
        (("shop",), 2),
        (("shop", "schema"), 3),
        (("shop", "rows"), 6),
        (("shop", "rows", 0), 7),
        (("shop", "rows", 1), 9),
        (("shop", "rows", 1, "id"), 9),
        (("shop", "rows", 7), 6),
        (("shop", "missing", "x"), 2),
        (("shop", "schema", "x"), 3),
    ],
)
def test_a_document_knows_the_line_of_everything(path: tuple[str | int, ...], line: int) -> None:
    document = parse_document(LINES.encode(), FILE)

    assert line == document.line_of(path)
    assert str(document.error(path, "is bad")) == f"some.yaml:{line}: is bad"


def test_a_block_of_text_begins_after_its_mark() -> None:
    data = read(LINES + "list:\n  - a\n  - |\n    b\n  - >-\n    c\n")

    assert (data["shop"].lines["schema"], data["shop"].begins["schema"]) == (3, 4)
    assert data["list"].lines == [11, 12, 14]
    assert data["list"].begins == [11, 13, 15]


ENVIRONMENT = {"USER": "ada", "PASSWORD": "${USER}$$", "_x1": "y"}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("postgresql://${USER}:${PASSWORD}@db/x", "postgresql://ada:${USER}$$@db/x"),
        ("${_x1}${_x1}", "yy"),
        ("no reference", "no reference"),
        ("pa$$word $USER 100$", "pa$$word $USER 100$"),
        ("$${USER}", "${USER}"),
        ("$$${USER}", "$${USER}"),
        ("{USER} }${USER}}", "{USER} }ada}"),
        ("", ""),
    ],
)
def test_references_are_replaced_once(text: str, expanded: str) -> None:
    assert expanded == expand(text, ENVIRONMENT)


@pytest.mark.parametrize(
    "text", ["${}", "${USER", "${A B}", "${1A}", "x${", "${USER:-x}", "${${USER}}"]
)
def test_a_reference_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="does not continue as NAME"):
        expand(f"secret{text}", ENVIRONMENT)


def test_a_missing_variable_is_named_and_the_text_is_not_shown() -> None:
    with pytest.raises(ConfigurationError) as error:
        expand("secret://${USER}:${PASSWORT}", ENVIRONMENT)

    assert "'PASSWORT'" in str(error.value)
    assert "secret" not in str(error.value)
