"""The extension point: tools, prompts, resources and methods that others add to the server.

An extension is an ordinary Python object. It is named on the command line
(`--extension module:attribute`) or found under the entry-point group `sandbox_mcp.extensions`;
both ways lead here and mean the same.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import mcp.types as types
from mcp.server import ServerRequestContext
from pydantic import BaseModel

from tool_plugins.errors import ConfigurationError

if TYPE_CHECKING:
    from .server import SandboxServer

ENTRY_POINT_GROUP = "sandbox_mcp.extensions"
TOOL_NAME = re.compile(r"^[a-z][a-z0-9_]{0,63}$")
"""What every known client accepts. Clients add prefixes, so 40 characters are wiser; our own tools
keep to that, which the registry checks."""

Context = ServerRequestContext[Any, Any]
CallTool = Callable[
    [Context, types.CallToolRequestParams],
    Awaitable[types.CallToolResult | types.InputRequiredResult],
]
GetPrompt = Callable[
    [Context, types.GetPromptRequestParams],
    Awaitable[types.GetPromptResult | types.InputRequiredResult],
]
ReadResource = Callable[
    [Context, types.ReadResourceRequestParams],
    Awaitable[types.ReadResourceResult | types.InputRequiredResult],
]
Complete = Callable[[Context, types.CompleteRequestParams], Awaitable[types.CompleteResult]]


@dataclass(frozen=True, slots=True)
class ExtensionTool:
    """A tool that runs in the server's own process, not in a sandbox. `call` is the raw handler."""

    definition: types.Tool
    call: CallTool


@dataclass(frozen=True, slots=True)
class ExtensionPrompt:
    """A prompt. `complete` suggests values of its arguments."""

    definition: types.Prompt
    get: GetPrompt
    complete: Complete | None = None


@dataclass(frozen=True, slots=True)
class ExtensionResource:
    """A resource, or a family of them where the definition is a template."""

    definition: types.Resource | types.ResourceTemplate
    read: ReadResource
    complete: Complete | None = None

    @property
    def uri(self) -> str:
        """The URI or the URI template: the key that may exist once."""
        if isinstance(self.definition, types.ResourceTemplate):
            return self.definition.uri_template
        return str(self.definition.uri)


@dataclass(frozen=True, slots=True)
class ExtensionMethod:
    """A handler of a request method that the server does not serve itself."""

    params: type[BaseModel]
    handle: Callable[[Context, Any], Awaitable[BaseModel | dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class ServerExtension:
    """What one extension adds. `on_load` is given the server, to announce changes later."""

    name: str
    tools: tuple[ExtensionTool, ...] = ()
    prompts: tuple[ExtensionPrompt, ...] = ()
    resources: tuple[ExtensionResource, ...] = ()
    methods: Mapping[str, ExtensionMethod] = field(default_factory=dict)
    on_load: "Callable[[SandboxServer], None] | None" = None


def load_extensions(references: Iterable[str] = ()) -> tuple[ServerExtension, ...]:
    """Installed extensions by entry-point name, then those of the command line in order.

    Raises:
        ConfigurationError: one cannot be imported or is no extension.
    """
    return tuple(_load_all(references))


def check_tool_name(name: str, origin: str) -> None:
    """Refuses a tool name that some client would choke on.

    Raises:
        ConfigurationError: the name is malformed.
    """
    if not TOOL_NAME.match(name):
        raise ConfigurationError(
            f"{origin} has a tool with the bad name {name!r}", hint=f"use {TOOL_NAME.pattern}"
        )


def _load_all(references: Iterable[str]) -> Iterator[ServerExtension]:
    for entry in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name):
        yield _checked(entry.value, entry.load)
    for reference in references:
        yield _checked(reference, lambda reference=reference: _import(reference))


def _import(reference: str) -> Any:
    module, separator, attribute = reference.partition(":")
    if not separator or not module or not attribute:
        raise ConfigurationError(
            f"bad extension {reference!r}", hint="write it as module:attribute"
        )
    return getattr(import_module(module), attribute)


def _checked(reference: str, load: Callable[[], Any]) -> ServerExtension:
    try:
        value = load()
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"cannot load extension {reference!r}: {error}",
            hint="the module must be importable from where the server runs",
        ) from error
    if not isinstance(value, ServerExtension):
        raise ConfigurationError(
            f"{reference!r} is a {type(value).__name__}, not a ServerExtension",
            hint="name an attribute that holds one",
        )
    return value
