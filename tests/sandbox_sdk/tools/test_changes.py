"""Who uses a tool is told what another version of its file changes."""

from typing import Any

from sandbox_sdk.tools.changes import changes
from sandbox_sdk.tools.models import CustomTool, Version
from tests.sandbox_sdk.tools.versions import tool, version


def of(*tools: CustomTool, text: str = "") -> Version:
    return version("a.any", text=text).model_copy(update={"tools": tools})


def taking(required: tuple[str, ...] = (), **properties: Any) -> CustomTool:
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return tool("a.b", input_schema=schema)


def test_a_first_version_changes_nothing() -> None:
    assert changes(None, version("a.b")) == ()


def test_what_runs_differently_is_no_change() -> None:
    before, after = version("a.b", "a.c", text="1"), version("a.c", "a.b", text="2")

    assert changes(before, after) == ()


def test_tools_come_and_go() -> None:
    assert changes(version("a.b", "a.c"), version("a.d", "a.c")) == ("a.b is gone.", "a.d is new.")


def test_each_part_of_a_tool_that_is_another_is_named() -> None:
    before = tool("a.b", output_schema={"type": "string"})
    after = tool("a.b", "Does more.", output_schema={"type": "null"})

    assert changes(of(before), of(after)) == ("a.b has changed: its description, its result.",)


def test_each_argument_that_is_another_is_named() -> None:
    number, text = {"type": "integer"}, {"type": "string"}
    before = taking(("need", "spare"), gone=text, need=text, spare=text, less=text, same=text)
    after = taking(("need", "less"), need=number, spare=text, less=text, same=text, more=text)

    assert changes(of(before), of(after)) == (
        "a.b has changed: its arguments (gone is gone, need is another, spare may be left out now, "
        "less is needed now, more is new).",
    )


def test_a_change_of_what_arguments_are_made_of_is_one() -> None:
    shared = {"$ref": "#/$defs/A"}
    schemas = [
        {"type": "object", "properties": {"x": shared}, "$defs": {"A": {"items": shared} | more}}
        for more in ({}, {"description": "Other."})
    ]
    before, after = (of(tool("a.b", input_schema=each)) for each in schemas)

    assert changes(before, after) == ("a.b has changed: its arguments.",)
