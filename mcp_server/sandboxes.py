"""The tools that make, show and end sandboxes. They run on the host, beside the sandboxes."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

import mcp.types as types
from pydantic import Field, ValidationError

from sandbox_sdk.arguments import parse_arguments
from sandbox_sdk.models import ComputeResources, SandboxInfo
from tool_plugins.contract import Annotations, Arguments, Result, ToolDefinition, ToolFailure
from tool_plugins.errors import ConfigurationError, SandboxNotFoundError

from .calls import SandboxCalls, in_mcp_words, principal_of
from .door import GroupDoor
from .extension import CallTool, Context
from .progress import ProgressReporter
from .render import render_data, render_failure


class CreateArguments(Arguments):
    """Arguments of `sandbox_create`; every limit left out is the server's default."""

    name: Annotated[str, Field(description="A name for people.", max_length=100)] | None = None
    cpus: Annotated[float, Field(description="CPU cores.", gt=0)] | None = None
    memory_mb: Annotated[int, Field(description="Memory in MiB.", gt=0)] | None = None
    disk_mb: Annotated[int, Field(description="Size of /workspace in MiB.", gt=0)] | None = None
    pids: Annotated[int, Field(description="Processes and threads.", gt=0)] | None = None
    environment: Annotated[
        dict[str, str], Field(description="Environment variables of every command.")
    ] = Field(default_factory=dict)
    idle_timeout_s: (
        Annotated[float, Field(description="End it after so many idle seconds.", gt=0)] | None
    ) = None


class SandboxArguments(Arguments):
    """Arguments of `sandbox_get` and `sandbox_end`."""

    sandbox_id: Annotated[
        str | None, Field(description="Leave it out for your own default sandbox.")
    ] = None


class ListArguments(Arguments):
    """`sandbox_list` takes none."""


class LimitView(Result):
    """One limit and what enforces it."""

    name: str
    effective: float | None
    enforced: str


class SandboxView(Result):
    """A sandbox as a model sees it. Times are ISO 8601, UTC."""

    sandbox_id: str
    name: str
    state: str
    cpus: float
    memory_mb: int
    disk_mb: int
    pids: int
    created_at: str
    expires_at: str | None = None
    end_cause: str | None = None
    limits: list[LimitView] = Field(default_factory=list)


class SandboxListView(Result):
    """The caller's sandboxes."""

    sandboxes: list[SandboxView]
    total: int


class EndedView(Result):
    """What `sandbox_end` did."""

    sandbox_id: str
    state: str


def _definition(
    verb: str, description: str, arguments: type[Arguments], result: type[Result], **hints: Any
) -> ToolDefinition:
    return ToolDefinition(
        name=f"sandbox.{verb}",
        description=description,
        arguments=arguments,
        result=result,
        annotations=Annotations(**hints),
        executor="mcp_server.sandboxes",
    )


CREATE = _definition(
    "create",
    "Make another sandbox and start it: a container of its own with an empty /workspace. Returns "
    "its sandbox_id; pass that to other tools. You rarely need this: without a sandbox_id every "
    "tool uses your default sandbox. A sandbox that nobody uses ends by itself.",
    CreateArguments,
    SandboxView,
    title="Create a sandbox",
    destructive=False,
)
LIST = _definition(
    "list",
    "List your live sandboxes with their ids, states and sizes.",
    ListArguments,
    SandboxListView,
    title="List sandboxes",
    read_only=True,
    destructive=False,
    idempotent=True,
)
GET = _definition(
    "get",
    "Show one sandbox: its state, when it ends if unused, and the limits that hold in it. Makes "
    "your default sandbox if it does not exist yet.",
    SandboxArguments,
    SandboxView,
    title="Show a sandbox",
    destructive=False,
    idempotent=True,
)
END = _definition(
    "end",
    "End a sandbox: kills its processes and deletes its files for good. Your default sandbox "
    "comes back empty at its next use.",
    SandboxArguments,
    EndedView,
    title="End a sandbox",
    destructive=True,
    idempotent=True,
)

Run = Callable[[Context, dict[str, Any]], Awaitable[Result]]


class SandboxTools:
    """Handlers of the four tools."""

    def __init__(self, door: GroupDoor, calls: SandboxCalls) -> None:
        self._door = door
        self._calls = calls

    def handlers(self) -> list[tuple[ToolDefinition, CallTool]]:
        """Each definition with its handler, in the order clients see them."""
        pairs: list[tuple[ToolDefinition, Run]] = [
            (CREATE, self._create),
            (LIST, self._list),
            (GET, self._get),
            (END, self._end),
        ]
        return [(definition, self._handler(definition, run)) for definition, run in pairs]

    async def _create(self, ctx: Context, args: dict[str, Any]) -> Result:
        group = await self._door.group()
        limits = {name: args[name] for name in ("cpus", "memory_mb", "disk_mb", "pids")}
        sandbox = await group.create_sandbox(
            args["name"],
            principal=principal_of(ctx),
            compute_resources=overridden(group.compute_resources, limits),
            environment=args["environment"],
            idle_timeout_s=args["idle_timeout_s"],
        )
        await sandbox.start()
        return _view(sandbox.info(), with_limits=True)

    async def _list(self, ctx: Context, _args: dict[str, Any]) -> Result:
        group = await self._door.group()
        infos = await group.list_sandboxes(principal=principal_of(ctx))
        views = [_view(info) for info in infos if info.state.live]
        return SandboxListView(sandboxes=views, total=len(views))

    async def _get(self, ctx: Context, args: dict[str, Any]) -> Result:
        sandbox = await self._calls.sandbox(ctx, args["sandbox_id"])
        return _view(sandbox.info(), with_limits=True)

    async def _end(self, ctx: Context, args: dict[str, Any]) -> Result:
        group = await self._door.group()
        if args["sandbox_id"] is None and not await group.list_sandboxes(
            principal=principal_of(ctx)
        ):
            raise SandboxNotFoundError("you have no sandbox", hint="nothing is left to end")
        sandbox = await self._calls.sandbox(ctx, args["sandbox_id"])
        await sandbox.end()
        return EndedView(sandbox_id=sandbox.id, state=str(sandbox.state))

    def _handler(self, definition: ToolDefinition, run: Run) -> CallTool:
        async def call(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
            arguments = parse_arguments(definition, params.arguments or {})
            if isinstance(arguments, ToolFailure):
                return render_failure(in_mcp_words(arguments, definition.name, definition.mcp_name))

            async def work(_reporter: ProgressReporter | None) -> types.CallToolResult:
                return render_data((await run(ctx, arguments)).model_dump(mode="json"))

            return await self._calls.supervise(ctx, work)

        return call


def overridden(default: ComputeResources, limits: Mapping[str, Any]) -> ComputeResources:
    """The default resources with every limit that is given (not None) in its place.

    Raises:
        ConfigurationError: a limit does not fit; the message names each.
    """
    given = {name: value for name, value in limits.items() if value is not None}
    try:
        return ComputeResources.model_validate(default.model_dump() | given)
    except ValidationError as error:
        problems = "; ".join(f"{each['loc'][0]}: {each['msg']}" for each in error.errors())
        raise ConfigurationError(f"bad limits: {problems}") from error


def _view(info: SandboxInfo, *, with_limits: bool = False) -> SandboxView:
    limits = [
        LimitView(
            name=limit.name,
            effective=limit.effective,
            enforced=f"{limit.limit_class} ({limit.mechanism})",
        )
        for limit in (info.limits if with_limits else ())
    ]
    return SandboxView(
        sandbox_id=info.id,
        name=info.name,
        state=str(info.state),
        cpus=info.resources.cpus,
        memory_mb=info.resources.memory_mb,
        disk_mb=info.resources.workspace_mb,
        pids=info.resources.pids,
        created_at=info.created_at.isoformat(),
        expires_at=info.expires_at.isoformat() if info.expires_at else None,
        end_cause=str(info.end_cause) if info.end_cause else None,
        limits=limits,
    )
