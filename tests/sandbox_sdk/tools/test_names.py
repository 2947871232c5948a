"""A custom tool has a name that every client takes and that nothing else has."""

import importlib
import pkgutil
from pathlib import Path

import pytest

import tool_plugins
from sandbox_sdk.tools.models import CustomTool
from sandbox_sdk.tools.names import RESERVED, check_names, check_namespace, namespace_of
from tool_plugins.contract import ToolDefinition
from tool_plugins.errors import ToolError


def tool(namespace: str, function: str, line: int = 1) -> CustomTool:
    return CustomTool(
        namespace=namespace,
        function=function,
        description="",
        input_schema={},
        output_schema={},
        line=line,
    )


def test_every_plugin_of_ours_keeps_its_namespace_though_it_is_not_offered() -> None:
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(tool_plugins.__path__, "tool_plugins.")
        if found.name.endswith(".definition")
    ]
    prefixes = {
        definition.name.partition(".")[0]
        for module in modules
        for value in vars(module).values()
        for definition in (value if isinstance(value, tuple) else (value,))
        if isinstance(definition, ToolDefinition)
    }

    assert {"filesystem", "web", "browser", "database", "vector", "tool"} < prefixes
    assert prefixes | {"sandbox"} == RESERVED


@pytest.mark.parametrize(
    "namespace", ["web", "Web", "sandbox", "garden"], ids=["ours", "case", "of MCP", "given"]
)
def test_a_namespace_of_built_in_tools_is_refused(namespace: str) -> None:
    check_namespace("gardens", {"garden"})

    with pytest.raises(ToolError, match=rf"{namespace}\.py.*built-in tools {namespace.lower()}_"):
        check_namespace(namespace, {"Garden"})


@pytest.mark.parametrize(
    "namespace",
    ["", "1st", "_own", "my-tools", "my.tools", "größe", "a\n", "__proto__", "x" * 41, "y" * 10**6],
    ids=["empty", "digit", "_", "-", "dot", "script", "newline", "proto", "long", "huge"],
)
def test_a_malformed_namespace_is_refused_in_few_words(namespace: str) -> None:
    check_namespace("x" * 40, ())

    with pytest.raises(ToolError, match="bad namespace") as error:
        check_namespace(namespace, ())
    assert error.value.code == "INVALID_ARGUMENT"
    assert error.value.message.isprintable()
    assert len(error.value.message) < 120


def test_a_file_gives_its_name_to_its_tools() -> None:
    assert namespace_of(Path("/somewhere/my_tools.py")) == "my_tools"
    with pytest.raises(ToolError) as error:
        namespace_of(Path("2 my-tools.v1.py"))
    assert "my_tools_v1.py" in error.value.hint
    with pytest.raises(ToolError, match=r"'my_tools\.txt'"):
        namespace_of(Path("/somewhere/my_tools.txt"))


def test_names_that_nobody_has_are_taken() -> None:
    check_names([tool("a", "b"), tool("a", "c")], {"a_d": "somewhere"})


@pytest.mark.parametrize(
    ("namespace", "function", "taken"),
    [
        ("a", "b_c", {"a_b_c": "/other/a_b.py"}),
        ("a", "b", {"A_B": "/other/A.py"}),
        ("graph", "store_query", {"graph_store_query": "plugins.graph_store"}),
    ],
    ids=["another cut", "case", "built-in"],
)
def test_a_clash_is_refused_with_both_places(
    namespace: str, function: str, taken: dict[str, str]
) -> None:
    with pytest.raises(ToolError) as error:
        check_names([tool(namespace, function, 12)], taken)

    assert error.value.code == "ALREADY_EXISTS"
    assert f"{namespace}.{function} ({namespace}.py:12)" in error.value.message
    assert next(iter(taken.values())) in error.value.message


def test_two_functions_of_one_name_are_refused_with_both_lines() -> None:
    with pytest.raises(ToolError, match=r"a\.Get \(a\.py:9\) is taken by a\.get \(a\.py:3\)"):
        check_names([tool("a", "get", 3), tool("a", "Get", 9)], {})


@pytest.mark.parametrize(
    "function",
    ["x" * 63, "größe", "a.b", "a\n", "", "_own", "a\u200bb"],
    ids=["long", "script", "dot", "newline", "empty", "_", "zero width"],
)
def test_a_name_that_some_client_refuses_is_refused_with_its_line(function: str) -> None:
    check_names([tool("a", "x" * 62)], {})

    with pytest.raises(ToolError, match=r"^a\.py:7: ") as error:
        check_names([tool("a", function, 7)], {})
    assert error.value.code == "SCHEMA_ERROR"
    assert error.value.message.isprintable()
    assert [each["line"] for each in error.value.details["problems"]] == [7]
