"""Which tools there are. Built-in tools are registered by the same call as any other."""

import re
from collections.abc import Iterable, Iterator
from importlib import import_module

from .contract import TOOL_NAME_PATTERN, ToolDefinition
from .errors import ConfigurationError, UnknownToolError

DEFAULT_PLUGINS = (
    "tool_plugins.filesystem.definition",
    "tool_plugins.terminal.definition",
    "tool_plugins.document.definition",
)

# `sandbox_id` routes a call over MCP, so no tool may use the name for itself.
RESERVED_ARGUMENTS = frozenset({"sandbox_id"})
MAX_NAME_LENGTH = 40


class ToolRegistry:
    """Tool definitions by dotted name, in a stable order."""

    def __init__(self, definitions: Iterable[ToolDefinition] = ()) -> None:
        self._tools: dict[str, ToolDefinition] = {}
        for definition in definitions:
            self.register(definition)

    def register(self, definition: ToolDefinition) -> None:
        """Adds a tool.

        Raises:
            ConfigurationError: the name is malformed or taken, or an argument is reserved.
        """
        self._check(definition)
        self._tools[definition.name] = definition

    def get(self, name: str) -> ToolDefinition:
        """The tool of that dotted name.

        Raises:
            UnknownToolError: no tool has the name; the message names the nearest ones.
        """
        try:
            return self._tools[name]
        except KeyError:
            known = ", ".join(self._tools)
            raise UnknownToolError(f"unknown tool {name!r}", hint=f"known tools: {known}") from None

    def __iter__(self) -> Iterator[ToolDefinition]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def _check(self, definition: ToolDefinition) -> None:
        name = definition.name
        if not re.match(TOOL_NAME_PATTERN, name) or len(name) > MAX_NAME_LENGTH:
            raise ConfigurationError(
                f"bad tool name {name!r}",
                hint=f"use plugin.verb in lower case, at most {MAX_NAME_LENGTH} characters",
            )
        taken = next((t for t in self._tools.values() if t.mcp_name == definition.mcp_name), None)
        if taken is not None:
            raise ConfigurationError(
                f"tool {name!r} of {definition.origin!r} clashes with {taken.name!r} "
                f"of {taken.origin!r}"
            )
        reserved = RESERVED_ARGUMENTS & definition.arguments.model_fields.keys()
        if reserved:
            raise ConfigurationError(f"tool {name!r} uses the reserved argument {min(reserved)!r}")


def load_registry(plugins: Iterable[str] = DEFAULT_PLUGINS) -> ToolRegistry:
    """A registry of the `TOOLS` tuples of the named definition modules."""
    return ToolRegistry(tool for name in plugins for tool in import_module(name).TOOLS)
