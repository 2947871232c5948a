"""Which tools there are. Built-in tools are registered by the same call as any other."""

import re
from collections.abc import Iterable, Iterator, Mapping

from .contract import TOOL_NAME_PATTERN, ToolDefinition
from .errors import ConfigurationError, UnknownToolError
from .plugins import BY_SETTINGS, installed, load_tools

# `sandbox_id` routes a call over MCP, so no tool may use the name for itself.
RESERVED_ARGUMENTS = frozenset({"sandbox_id"})
MAX_NAME_LENGTH = 40


class ToolRegistry:
    """Tool definitions by dotted name, in a stable order."""

    def __init__(self, definitions: Iterable[ToolDefinition] = ()) -> None:
        self._tools: dict[str, ToolDefinition] = {}
        self._reserved: dict[str, str] = {}
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

    def reserve(self, names: Mapping[str, str]) -> None:
        """Keeps names over MCP from tools that come later; says of each where it comes from."""
        self._reserved.update(names)

    def mcp_names(self) -> dict[str, str]:
        """Where each name over MCP comes from that a later tool may not have."""
        return self._reserved | {each.mcp_name: each.origin for each in self._tools.values()}

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


def load_registry(names: Iterable[str] | None = None) -> ToolRegistry:
    """The tools of the named plugins, ours or of installed packages, in that order.

    By default those that every group has, and all of installed packages. Tools that depend on a
    group's settings, such as those of the web, are added by the group.

    Raises:
        ConfigurationError: there is no such plugin, or one cannot be loaded.
    """
    there = {plugin.name: plugin for plugin in installed() if plugin.name not in BY_SETTINGS}
    chosen = list(there if names is None else names)
    for name in chosen:
        if name not in there:
            raise ConfigurationError(
                f"there is no plugin {name!r}", hint=f"there are {', '.join(there)}"
            )
    return ToolRegistry(tool for name in chosen for tool in load_tools(there[name]))
