"""Every tool the server offers, in one fixed order, each with its origin."""

from collections.abc import Iterator
from dataclasses import dataclass

import mcp.types as types

from tool_plugins.contract import Annotations, ToolDefinition
from tool_plugins.errors import ConfigurationError

from .extension import CallTool, check_tool_name
from .schema import input_schema, output_schema


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One tool: what clients see, what a call runs, and who brought it."""

    tool: types.Tool
    call: CallTool
    origin: str


class Catalog:
    """Tools by name. The order is that of their coming, so that prompts can be cached."""

    def __init__(self) -> None:
        self._entries: dict[str, CatalogEntry] = {}

    def add(self, entry: CatalogEntry) -> None:
        """Adds a tool.

        Raises:
            ConfigurationError: the name is malformed, or taken; the message names both origins.
        """
        name = entry.tool.name
        check_tool_name(name, entry.origin)
        taken = self._entries.get(name)
        if taken is not None:
            raise ConfigurationError(
                f"the tool {name!r} of {entry.origin} clashes with that of {taken.origin}"
            )
        self._entries[name] = entry

    def remove(self, name: str) -> None:
        """Takes a tool away; one that is not there is no matter."""
        self._entries.pop(name, None)

    def get(self, name: str) -> CatalogEntry | None:
        """The tool of that name."""
        return self._entries.get(name)

    def __iter__(self) -> Iterator[CatalogEntry]:
        return iter(self._entries.values())


def tool_of(definition: ToolDefinition, *, with_sandbox_id: bool = True) -> types.Tool:
    """A tool definition as MCP shows it."""
    return types.Tool(
        name=definition.mcp_name,
        title=definition.annotations.title,
        description=definition.description,
        input_schema=input_schema(definition.arguments, with_sandbox_id=with_sandbox_id),
        output_schema=output_schema(definition.result),
        annotations=_annotations(definition.annotations),
    )


def _annotations(given: Annotations) -> types.ToolAnnotations:
    return types.ToolAnnotations(
        title=given.title,
        read_only_hint=given.read_only,
        destructive_hint=given.destructive and not given.read_only,
        idempotent_hint=given.idempotent,
        open_world_hint=given.open_world,
    )
