"""What becomes of type hints: schemas, or a problem that names the parameter."""

import json
import sys
from collections.abc import Callable
from textwrap import dedent
from typing import Any

import pytest

from tool_plugins.tool.describing import describe

from .describing import HEAD, Make
from .describing import described as described
from .describing import make as make
from .describing import refused as refused

NOTHING: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


@pytest.fixture
def schema_of(described: Callable[[str], dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """The schema of a parameter: its hint, a default, and what goes before it in the file."""

    def schema_of(hint: str, default: str = "", before: str = "") -> dict[str, Any]:
        given = f"value: {hint}" + (f" = {default}" if default else "")
        source = f'{HEAD}{dedent(before)}\ndef f({given}) -> None:\n    """Takes it."""\n'
        schema = described(source)["input_schema"]
        assert schema.get("required", []) == ([] if default else ["value"])
        return schema["properties"]["value"]

    return schema_of


@pytest.mark.parametrize(
    ("hint", "schema"),
    [
        ("int", {"type": "integer"}),
        ("'int'", {"type": "integer"}),
        ("Any", {}),
        ("None", {"type": "null"}),
        ("int | None", {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ("Optional[int]", {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ("Union[int, 'str']", {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        ("list[str]", {"type": "array", "items": {"type": "string"}}),
        ("Dict[str, int]", {"type": "object", "additionalProperties": {"type": "integer"}}),
        ("Literal['a', 'b']", {"enum": ["a", "b"], "type": "string"}),
        ("Literal['a', 1, None]", {"enum": ["a", 1, None]}),
        ("Annotated[int, Field(gt=1)]", {"type": "integer", "exclusiveMinimum": 1}),
        ("Annotated[int, Field(description='x')]", {"type": "integer", "description": "x"}),
        ("Annotated[int, 'x']", {"type": "integer", "description": "x"}),
        ("PositiveInt", {"type": "integer", "exclusiveMinimum": 0}),
        ("NewType('Id', int)", {"type": "integer"}),
        ("bytes", {"type": "string", "format": "binary"}),
        ("tuple[int, str]", {
            "type": "array", "minItems": 2, "maxItems": 2,
            "prefixItems": [{"type": "integer"}, {"type": "string"}],
        }),
        ("'list[Annotated[str, Field(min_length=1)]]'", {
            "type": "array", "items": {"type": "string", "minLength": 1},
        }),
    ],
)  # fmt: skip
def test_type_hints_become_schemas(schema_of, hint: str, schema: dict[str, Any]):
    assert schema_of(hint) == schema


@pytest.mark.parametrize(
    ("hint", "default", "schema"),
    [
        ("int", "1", {"type": "integer", "default": 1}),
        ("int", "None", {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None}),
        ("int | None", "1", {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": 1}),
        ("Any", "None", {"default": None}),
        ("Annotated[int, Field(le=3)]", "None", {
            "anyOf": [{"type": "integer", "maximum": 3}, {"type": "null"}], "default": None,
        }),
        ("int", "Field(3, ge=1)", {"type": "integer", "minimum": 1, "default": 3}),
        ("list[int]", "[1]", {"type": "array", "items": {"type": "integer"}, "default": [1]}),
        ("list[int]", "Field(default_factory=list)", {
            "type": "array", "items": {"type": "integer"},
        }),
        ("dict", "{'a': [1]}", {
            "type": "object", "additionalProperties": True, "default": {"a": [1]},
        }),
        ("set[int]", "{1}", {
            "type": "array", "items": {"type": "integer"}, "uniqueItems": True, "default": [1],
        }),
        ("tuple[int, ...]", "()", {"type": "array", "items": {"type": "integer"}, "default": []}),
        ("__import__('datetime').date", "__import__('datetime').date(2020, 1, 2)", {
            "type": "string", "format": "date", "default": "2020-01-02",
        }),
        ("__import__('pathlib').Path", "__import__('pathlib').Path('a')", {
            "type": "string", "format": "path", "default": "a",
        }),
        # What is no JSON is a default all the same, and not shown.
        ("float", "float('inf')", {"type": "number"}),
        ("list[float]", "[float('nan')]", {"type": "array", "items": {"type": "number"}}),
        ("object", "object()", {}),
        ("Any", "print", {}),
        ("bytes", "b'\\xff'", {"type": "string", "format": "binary"}),
    ],
)  # fmt: skip
def test_defaults_of_every_kind(schema_of, hint: str, default: str, schema: dict[str, Any]):
    found = schema_of(hint, default)

    assert found == schema
    json.dumps(found, allow_nan=False)


def test_a_default_that_is_not_shown_is_a_warning(make: Make):
    source = "def f(a: int = 1, b: float = float('inf')) -> int:\n    'Adds.'\n"

    assert describe(make(source))["warnings"] == [
        "line 1: f: the default of 'b' is not shown: it is no JSON"
    ]


CLASSES = """
    import dataclasses, enum
    from typing_extensions import TypedDict, NotRequired

    class Colour(enum.Enum):
        RED = "red"
        BLUE = 2

    @dataclasses.dataclass
    class Point:
        x: int
        after: "Point | None" = None

    class Options(TypedDict):
        a: int
        b: NotRequired[str]

    class Pair(NamedTuple):
        left: int
        right: str = "x"

    class Node(BaseModel):
        '''One of a tree.'''
        value: int
        children: list["Node"] = []
"""


@pytest.mark.parametrize(
    ("hint", "definition"),
    [
        ("Colour", {"title": "Colour", "enum": ["red", 2]}),
        ("Point", {
            "title": "Point",
            "type": "object",
            "properties": {
                "x": {"type": "integer"},
                "after": {"anyOf": [{"$ref": "#/$defs/Point"}, {"type": "null"}], "default": None},
            },
            "required": ["x"],
            "additionalProperties": False,
        }),
        ("Options", {
            "title": "Options",
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
            "required": ["a"],
            "additionalProperties": False,
        }),
        ("Pair", {
            "type": "array",
            "prefixItems": [{"type": "integer"}, {"type": "string", "default": "x"}],
            "minItems": 1,
            "maxItems": 2,
        }),
        ("Node", {
            "title": "Node",
            "description": "One of a tree.",
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "children": {
                    "type": "array", "items": {"$ref": "#/$defs/Node"}, "default": [],
                },
            },
            "required": ["value"],
        }),
    ],
)  # fmt: skip
@pytest.mark.parametrize("future", [False, True], ids=["evaluated", "future"])
def test_classes_are_defined_once_and_may_contain_themselves(
    described, hint: str, definition: dict[str, Any], future: bool
):
    before = "from __future__ import annotations\n" if future else ""
    source = (
        f"{before}{HEAD}{dedent(CLASSES)}\ndef f(a: {hint}, b: list[{hint}]) -> {hint}: 'Is.'\n"
    )
    function = described(source)

    reference = {"$ref": f"#/$defs/{hint}"}
    assert function["input_schema"]["$defs"] == {hint: definition}
    assert function["input_schema"]["properties"] == {
        "a": reference,
        "b": {"type": "array", "items": reference},
    }
    returned = function["output_schema"]
    defined = returned if "$ref" not in returned else returned["$defs"][hint]
    # Of a result it is no promise.
    assert defined == {k: v for k, v in definition.items() if k != "additionalProperties"}


def test_a_hint_may_name_a_class_that_comes_later(described):
    source = f"{HEAD}def f(a: 'Later') -> 'list[Later]': 'Is.'\nclass Later(BaseModel): x: int\n"

    assert described(source)["input_schema"]["properties"]["a"] == {"$ref": "#/$defs/Later"}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="it is syntax of Python 3.12")
def test_type_statements_are_understood(schema_of):
    before = "type Tree = dict[str, Tree] | int\ntype Row[T] = list[T]"

    assert schema_of("Tree", before=before) == {"$ref": "#/$defs/Tree"}
    assert schema_of("Row[int]", before=before) == {"$ref": "#/$defs/Row_int_"}


def test_every_name_that_python_takes_may_be_a_parameter(described):
    names = ["schema", "json", "copy", "model_config", "self", "_x", "p0", "args", "größe"]
    function = described(f"def f({': int, '.join(names)}: int) -> int: 'Adds.'")

    assert list(function["input_schema"]["properties"]) == names


@pytest.mark.parametrize(
    ("parameters", "properties", "context"),
    [
        ("a: int, /, b: int, *, c: int", ["a", "b", "c"], False),
        ("ctx", [], True),
        ("a: int, ctx: Context, b: int = 1", ["a", "b"], True),
        ("a: int, *, ctx: 'Context'", ["a"], True),
        ("ctx: Context | None = None, /", [], True),
        ("ctx: 'authoring.Context'", [], True),
    ],
)
def test_the_context_is_not_in_the_schema(
    described, parameters: str, properties: list[str], context: bool
):
    head = "from tool_plugins.authoring import Context\n"
    function = described(f"{head}def f({parameters}) -> int: 'Adds.'")

    assert list(function["input_schema"]["properties"]) == properties
    assert function["context"] is context


def test_the_context_may_be_imported_for_type_checkers_only(described):
    function = described("""
        from __future__ import annotations
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from tool_plugins.authoring import AsyncContext

        async def f(ctx: AsyncContext) -> int:
            "Adds."
    """)

    assert function["context"] is True
    assert function["input_schema"] == NOTHING


@pytest.mark.parametrize(
    ("hint", "says"),
    [
        ("Callable[[int], int]", "its type has no schema: Cannot generate a JsonSchema for core"),
        ("type[int]", "its type has no schema"),
        ("Iterator[int]", "there is no schema for typing.Iterator[int]"),
        ("C", "there is no schema for <class 'tool:my_tools.C'>: take plain types"),
        ("list['C']", "there is no schema for <class 'tool:my_tools.C'>"),
        ("'Nothing'", "its type hint names 'Nothing', which is not there"),
        ("'list[Nothing]'", "its type hint names 'Nothing', which is not there"),
        ("Hollow", "its type names 'Nothing', which is not there"),
        ("'1 +'", "its type hint fails: SyntaxError"),
        ("'1 / 0'", "its type hint fails: ZeroDivisionError: division by zero"),
        ("'exit()'", "its type hint fails: SystemExit"),
        ("Exits", "its type has no schema: SystemExit: 3"),
        ("Annotated[str, Field(pattern='(?=a)')]", "its pattern is none that works here: look-"),
        ("Annotated[int, Field(validation_alias=AliasPath('a', 0))]", "its alias is not one name"),
        ("Annotated[int, Field(alias='b')]", ""),
    ],
)
def test_a_parameter_that_cannot_be_expressed_is_named_with_its_line(refused, hint: str, says: str):
    error = refused(f"""{HEAD}
class C: ...
class Hollow(BaseModel):
    x: "Nothing"
class Exits:
    @classmethod
    def __get_pydantic_core_schema__(cls, source, handler): exit(3)

def f(
    a: {hint},
    b: int,
) -> int:
    "Adds."
""")
    (problem,) = error.details["problems"]

    if not says:
        assert (problem["line"], problem["parameter"]) == (13, "b")
        assert problem["message"] == "another parameter is called 'b' too"
        return
    assert (problem["line"], problem["function"], problem["parameter"]) == (12, "f", "a")
    assert problem["message"].startswith(says)
    assert error.message.startswith(f"my_tools.py:12: f(a): {says}")


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ("ctx: int", "ctx is the context, of type Context in a def"),
        ("ctx: AsyncContext", "ctx is the context, of type Context in a def"),
        ("ctx: 'AsyncContext'", "ctx is the context, of type Context in a def"),
        ("*ctx", "ctx is the context"),
        ("context: Context", "the parameter of the context must be named ctx"),
        ("*args: int", "*args has no schema"),
        ("**kwargs: int", "**kwargs has no schema"),
    ],
)
def test_a_parameter_of_the_wrong_kind_is_refused(refused, parameters: str, says: str):
    head = "from tool_plugins.authoring import AsyncContext, Context\n"
    (problem,) = refused(f"{head}def f({parameters}) -> int: 'x'").details["problems"]

    assert (problem["line"], problem["parameter"]) == (2, parameters.strip("*").split(":")[0])
    assert problem["message"].startswith(says)


def test_a_result_that_cannot_be_expressed_is_named(refused):
    (problem,) = refused("class C: ...\ndef f() -> C: 'x'").details["problems"]

    assert (problem["line"], problem["function"], problem["parameter"]) == (2, "f", "return")


def test_all_that_is_wrong_with_all_functions_is_told_at_once_and_in_order(refused):
    error = refused(f"""{HEAD}
class C: ...

def f(
    a: C,
    b: "Nothing",
    c: Callable,
    d: int,
    *e: int,
) -> C: ...

def g(a: Iterator[int]) -> int: "Fine."

h = lambda a: a
""")
    found = [
        (each["line"], each["function"], each["parameter"]) for each in error.details["problems"]
    ]

    assert found == sorted(found, key=lambda place: place[0])
    assert set(found) == {
        (6, "f", None), (6, "f", "return"), (7, "f", "a"), (8, "f", "b"), (9, "f", "c"),
        (11, "f", "e"), (14, "g", "a"), (16, "h", None),
    }  # fmt: skip


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="it works there")
def test_a_typed_dict_of_an_older_python_is_refused_with_the_way_out(refused):
    error = refused(f"{HEAD}class T(TypedDict):\n    x: int\ndef f(a: T) -> int: 'x'\n")

    assert error.message == (
        "my_tools.py:5: f(a): typing.TypedDict needs Python 3.12 or newer: "
        "import it from typing_extensions"
    )


@pytest.mark.skipif(sys.version_info < (3, 12), reason="it is refused there")
def test_a_typed_dict_has_a_schema(schema_of):
    assert schema_of("T", before="class T(TypedDict): x: int") == {"$ref": "#/$defs/T"}


@pytest.mark.parametrize(
    "source",
    [
        f"{HEAD}def f(a: Literal[tuple(map(str, range(20_000)))]) -> int: 'x'",
        f"{HEAD}def f() -> Literal[tuple(map(str, range(20_000)))]: 'x'",
    ],
    ids=["input", "output"],
)
def test_a_schema_that_is_too_large_is_refused(refused, source: str):
    assert "64 are the most" in refused(source).message


@pytest.mark.parametrize(
    "extra", ["{'x': float('nan')}", "{'x': object()}", "lambda schema: schema.update(x=schema)"]
)
def test_a_schema_that_is_no_json_is_refused(refused, extra: str):
    hint = f"Annotated[int, Field(json_schema_extra={extra})]"

    assert "my_tools.py:3: f" in refused(f"{HEAD}def f(a: {hint}) -> int: 'x'").message


def test_a_part_of_a_type_that_has_no_schema_is_a_warning(make: Make):
    report = describe(make(f"{HEAD}def f(a: int | Callable) -> int: 'x'"))

    assert report["functions"][0]["input_schema"]["properties"]["a"] == {"type": "integer"}
    assert "left out of the schema" in report["warnings"][0]


NOTE = ["mime_type", "bytes"]


@pytest.mark.parametrize(
    ("hint", "path"),
    [
        ("bytes", []),
        ("bytearray", []),
        ("bytes | None", ["anyOf", 0]),
        ("list[bytes]", ["items"]),
        ("Sequence[bytes]", ["items"]),
        ("dict[str, list[memoryview]]", ["additionalProperties", "items"]),
        ("tuple[str, Annotated[bytes, 'x']]", ["prefixItems", 1]),
    ],
)
def test_binary_results_are_described_as_what_stands_for_them(described, hint: str, path: list):
    schema = described(f"{HEAD}def f() -> {hint}: 'Draws.'")["output_schema"]
    for step in path:
        schema = schema[step]

    assert schema["required"] == NOTE
