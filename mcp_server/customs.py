"""Custom tools over MCP: each caller sees and calls those of the group and of their own sandbox."""

import mcp.types as types
from mcp.shared.exceptions import MCPError

from sandbox_sdk import Sandbox
from sandbox_sdk.models import Action, Observation
from sandbox_sdk.tools.models import CustomTool

from .calls import SandboxCalls, Target, principal_of
from .catalog import Catalog
from .door import GroupDoor
from .extension import Context
from .outcomes import render_outcome
from .schema import custom_input_schema, custom_output_schema

MAX_PAGE_BYTES = 500_000
"""Of a list of tools, besides the built-in ones. Clients of the `mcp` package drop a message over
1,048,576 bytes, and a file of tools may have as much in descriptions and schemas."""


class CustomTools:
    """Lists and calls custom tools. Those of another sandbox than the default are `tool_call`'s."""

    def __init__(self, door: GroupDoor, calls: SandboxCalls, catalog: Catalog) -> None:
        self._door = door
        self._calls = calls
        self._catalog = catalog

    def page(self, ctx: Context, cursor: str | None) -> tuple[list[types.Tool], str | None]:
        """The caller's tools as they are known now, and where the next page begins, if it does.

        Nobody waits for an image here. A cursor is the name of the last tool before the page.

        Raises:
            MCPError: the cursor is none of the list any more.
        """
        tools = self._visible(ctx)
        names = [each.mcp_name for each in tools]
        if cursor is not None and cursor not in names:
            raise MCPError(types.INVALID_PARAMS, "this page is gone: list the tools anew")
        rest = tools if cursor is None else tools[names.index(cursor) + 1 :]
        shown: list[types.Tool] = []
        room = MAX_PAGE_BYTES
        for tool in map(tool_of, rest):
            room -= len(tool.model_dump_json(by_alias=True).encode())
            if shown and room < 0:
                return shown, shown[-1].name
            shown.append(tool)
        return shown, None

    async def call(self, ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        """Calls one of the caller's tools.

        Raises:
            MCPError: there is none of that name.
        """

        async def find() -> Target:
            if not self._door.has_custom_tools:
                raise unknown(params.name)
            group = await self._door.group()
            if (tool := self._known(ctx, params.name)) is None:
                # It may be one of the group's own files, which are read in the background.
                await group.tools_ready()
                tool = self._known(ctx, params.name)
            if tool is None:
                raise unknown(params.name)
            return Target(tool.name, tool.mcp_name, _render)

        return await self._calls.run(ctx, params, find)

    def _known(self, ctx: Context, name: str) -> CustomTool | None:
        return next((each for each in self._visible(ctx) if each.mcp_name == name), None)

    def _visible(self, ctx: Context) -> list[CustomTool]:
        tools = self._door.custom_tools(principal_of(ctx))
        return [each for each in tools if self._catalog.get(each.mcp_name) is None]


def unknown(name: str) -> MCPError:
    """What is said of a tool that is not there."""
    return MCPError(code=types.INVALID_PARAMS, message=f"unknown tool {name!r}")


def tool_of(tool: CustomTool) -> types.Tool:
    """A custom tool as MCP shows it. What it does is known to nobody, so nothing is promised."""
    return types.Tool(
        name=tool.mcp_name,
        title=tool.name,
        description=tool.description,
        input_schema=custom_input_schema(tool.input_schema),
        output_schema=custom_output_schema(tool.output_schema),
        annotations=types.ToolAnnotations(
            title=tool.name,
            read_only_hint=False,
            destructive_hint=True,
            idempotent_hint=False,
            open_world_hint=True,
        ),
    )


async def _render(
    sandbox: Sandbox, action: Action, observation: Observation
) -> types.CallToolResult:
    return await render_outcome(sandbox, action.tool, observation)
