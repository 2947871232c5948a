"""Versions of files that were never asked anything."""

from typing import Any

from sandbox_sdk.tools.models import CustomTool, Source, Version

NOTHING: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


def tool(name: str, description: str = "Does it.", **fields: Any) -> CustomTool:
    """A tool of that dotted name."""
    namespace, _, function = name.partition(".")
    given = {"input_schema": NOTHING, "output_schema": {}} | fields
    return CustomTool(namespace=namespace, function=function, description=description, **given)


def version(*names: str, text: str = "", origin: str = "here", **fields: Any) -> Version:
    """A version with tools of those dotted names, all of one namespace."""
    namespace = names[0].partition(".")[0]
    source = Source(namespace=namespace, text=text, origin=origin)
    return Version(source=source, tools=tuple(tool(each) for each in names), **fields)
