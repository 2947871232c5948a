"""From an action to the job that does it: the kind of tool, its arguments, its deadline."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from container_runtime.connection import Connection
from tool_plugins.contract import Action, Observation, ToolDefinition, ToolFailure
from tool_plugins.errors import ErrorCode

from .actions import make_action
from .arguments import parse_arguments
from .jobs import Brokered, BuiltIn, Job, Refusal
from .observations import deadline_of

if TYPE_CHECKING:
    from .lifecycle import Lifecycle
    from .services import Services
    from .tools.shelf import Found

Execute = Callable[[Action], Awaitable[Observation]]
Work = Callable[[Connection], Awaitable[dict[str, Any]]]


class Planner:
    """One per sandbox. `execute` is the sandbox's own: custom tools ask through it."""

    def __init__(self, life: "Lifecycle", services: "Services", execute: Execute) -> None:
        self._life = life
        self._services = services
        self._execute = execute

    def job(
        self, action: Action | str, args: Mapping[str, Any] | None, timeout_s: float | None
    ) -> Job:
        """What is to be done. Malformed arguments make a job that refuses.

        Raises:
            UnknownToolError: no tool has the name.
            SandboxStateError: the sandbox is not started.
            SandboxGoneError: it ended before.
        """
        if isinstance(action, str):
            action = make_action(action, args)
        found = self._life.tools.shelf.find(action.tool)
        definition = None if found else self._services.registry.get(action.tool)
        self._life.connection()
        if found is not None:
            return self._custom(action, found, action.args, timeout_s)
        assert definition is not None, "the registry raises for names it does not know"
        parsed = parse_arguments(definition, action.args)
        if isinstance(parsed, ToolFailure):
            return Refusal(action, parsed)
        action = action.model_copy(update={"args": parsed})
        return self._built_in(action, definition, timeout_s)

    def require(self, tool: str) -> None:
        """Refuses a name that no tool has.

        Raises:
            UnknownToolError: as `job` does.
        """
        if self._life.tools.shelf.find(tool) is None:
            self._services.registry.get(tool)

    def _built_in(self, action: Action, definition: ToolDefinition, timeout_s: float | None) -> Job:
        deadline = timeout_s or deadline_of(definition, action.args)
        if definition.broker is None:
            return BuiltIn(action, definition, deadline)
        if definition.broker == "tools" and action.tool == "tool.call":
            return self._called(action, timeout_s)
        return Brokered(action, self._work(definition, action), deadline)

    def _work(self, definition: ToolDefinition, action: Action) -> Work:
        if definition.broker == "database":
            return lambda _connection: self._life.databases().execute(action.tool, action.args)
        if definition.broker == "search":
            return lambda _connection: self._life.search(action.args)
        from .tools.managing import manage

        return lambda connection: manage(self._life.tools, connection, action)

    def _called(self, action: Action, timeout_s: float | None) -> Job:
        """`tool.call` is the call of the tool it names."""
        session, args = self._life.tools, action.args
        found = session.shelf.find(args["tool"])
        if found is None:
            return Refusal(action, unknown(args["tool"], [t.name for t in session.shelf.tools()]))
        return self._custom(action, found, args["arguments"], timeout_s or args["timeout_s"])

    def _custom(
        self,
        action: Action,
        found: "Found",
        arguments: Mapping[str, Any],
        timeout_s: float | None,
    ) -> Job:
        from .tools.calling import Asked, CustomCall

        return CustomCall(
            action,
            found,
            arguments,
            timeout_s=timeout_s,
            ensure=self._life.tools.ensure,
            asked=Asked(self._services.registry, self._execute),
        )


def unknown(name: str, known: list[str]) -> ToolFailure:
    """Why a custom tool cannot be called."""
    return ToolFailure(
        code=str(ErrorCode.UNKNOWN_TOOL),
        message=f"no custom tool {name[:80]!r} in this sandbox",
        hint=f"there are: {', '.join(known) or 'none'}",
    )
