"""The MCP server itself: one object that every transport and both protocol eras serve."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from importlib.metadata import version
from typing import Any

import mcp.types as types
from mcp.server import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.session import ServerSession
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ResourcesListChanged,
    ToolsListChanged,
)

from sandbox_sdk import SandboxGroup

from .calls import SandboxCalls
from .catalog import Catalog, CatalogEntry, tool_of
from .changes import Announcer
from .customs import CustomTools
from .door import GroupDoor
from .extension import Context, ServerExtension
from .instructions import instructions_for
from .offers import add_extensions
from .sandboxes import SandboxTools

BUILT_IN = "sandbox-sdk"
NOTICE_TIMEOUT_S = 2.0

ListChanged = ToolsListChanged | PromptsListChanged | ResourcesListChanged
LEGACY_NOTICE: dict[type[ListChanged], Callable[[ServerSession], Awaitable[None]]] = {
    ToolsListChanged: ServerSession.send_tool_list_changed,
    PromptsListChanged: ServerSession.send_prompt_list_changed,
    ResourcesListChanged: ServerSession.send_resource_list_changed,
}


class SandboxServer(Server[dict[str, Any]]):
    """Serves the tools of one sandbox group, and what extensions add."""

    def __init__(
        self, make_group: Callable[[], SandboxGroup], extensions: Iterable[ServerExtension] = ()
    ) -> None:
        self._changes = Announcer(lambda: self.announce(ToolsListChanged()))
        self.door = GroupDoor(make_group, self._changes.changed)
        self.catalog = Catalog()
        self._calls = SandboxCalls(self.door)
        self._customs = CustomTools(self.door, self._calls, self.catalog)
        self._bus = InMemorySubscriptionBus()
        self._listen = ListenHandler(self._bus)
        self._listeners: dict[int, ServerSession] = {}
        super().__init__(
            "sandbox-sdk",
            title="Sandbox SDK",
            version=version("sandbox-sdk"),
            instructions=instructions_for(self.door.registry, self.door.egress_policy),
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_subscriptions_listen=self._listen,
            get_tool_input_schema=self._input_schema,
        )
        self.add_notification_handler(
            "notifications/initialized", types.NotificationParams, self._on_initialized
        )
        self._add_built_in_tools()
        add_extensions(self, extensions)
        self.door.reserve({entry.tool.name: entry.origin for entry in self.catalog})

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """As the base, but with `listChanged`: no transport passes options of its own, and clients
        ignore change notifications that were not announced."""
        announced = NotificationOptions(
            tools_changed=True, prompts_changed=True, resources_changed=True
        )
        return super().create_initialization_options(
            notification_options or announced, experimental_capabilities, extensions
        )

    async def announce(self, event: ListChanged) -> None:
        """Tells the clients of both eras that a list changed."""
        await self._bus.publish(event)
        sessions = list(self._listeners.values())
        await asyncio.gather(*(_notify(session, event) for session in sessions))

    def stop_serving(self) -> None:
        """Ends open listen streams and running calls, so that transports can close."""
        self._changes.stop()
        self._listen.close()
        self.door.closing.set()

    def _add_built_in_tools(self) -> None:
        for definition, handler in SandboxTools(self.door, self._calls).handlers():
            tool = tool_of(definition, with_sandbox_id=False)
            self.catalog.add(CatalogEntry(tool, handler, BUILT_IN))
        for definition in self.door.registry:
            tool = tool_of(definition)
            self.catalog.add(CatalogEntry(tool, self._calls.handler(definition), definition.origin))

    async def _list_tools(
        self, ctx: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        cursor = params.cursor if params else None
        tools, next_cursor = self._customs.page(ctx, cursor)
        if cursor is None:
            tools = [*(entry.tool for entry in self.catalog), *tools]
        # No caching: a changed list must be seen by clients that do not listen, too.
        return types.ListToolsResult(
            tools=tools, next_cursor=next_cursor, ttl_ms=0, cache_scope="private"
        )

    async def _call_tool(
        self, ctx: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        entry = self.catalog.get(params.name)
        if entry is None:
            return await self._customs.call(ctx, params)
        return await entry.call(ctx, params)

    def _input_schema(self, name: str) -> dict[str, Any] | None:
        entry = self.catalog.get(name)
        return entry.tool.input_schema if entry else None

    async def _on_initialized(self, ctx: Context, _params: types.NotificationParams) -> None:
        # The package has no public way to learn of a connection's end; a test guards this one.
        connection = ctx.session._connection
        self._listeners[id(connection)] = ctx.session
        connection.exit_stack.callback(self._listeners.pop, id(connection), None)


async def _notify(session: ServerSession, event: ListChanged) -> None:
    # A client that reads nothing must not keep the news from the others.
    with suppress(TimeoutError):
        async with asyncio.timeout(NOTICE_TIMEOUT_S):
            await LEGACY_NOTICE[type(event)](session)
