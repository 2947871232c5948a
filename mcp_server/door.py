"""The group behind the server, opened in the background so that clients never wait for an image."""

import asyncio
import logging
from collections.abc import Callable, Mapping

from sandbox_sdk import SandboxGroup
from sandbox_sdk.egress.policy import EgressPolicy
from sandbox_sdk.models import Principal
from sandbox_sdk.tools.models import CustomTool
from tool_plugins.errors import SandboxError
from tool_plugins.registry import ToolRegistry

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 3.5
"""What is not gone by then is removed by the next server that starts."""


class GroupDoor:
    """Starts the group once, lets calls await it, tries again after a failure, ends it.

    `tools_changed()` is called whenever the group's custom tools may be others than before.
    """

    def __init__(
        self, make: Callable[[], SandboxGroup], tools_changed: Callable[[], None] = lambda: None
    ) -> None:
        self._make = make
        self._tools_changed = tools_changed
        self._reserved: dict[str, str] = {}
        self._group = self._made()
        self._opening: asyncio.Task[None] | None = None
        self.closing = asyncio.Event()
        """Set when the server stops: running calls end."""

    @property
    def registry(self) -> ToolRegistry:
        """The group's tools, known before it has started."""
        return self._group.registry

    def reserve(self, names: Mapping[str, str]) -> None:
        """Keeps names from custom tools; says of each where it comes from."""
        self._reserved.update(names)
        self.registry.reserve(names)

    @property
    def has_custom_tools(self) -> bool:
        """Whether there may be custom tools."""
        return any(definition.broker == "tools" for definition in self.registry)

    def custom_tools(self, principal: Principal) -> list[CustomTool]:
        """The principal's custom tools as far as they are known; starts nothing."""
        return self._group.custom_tools(principal) if self.has_custom_tools else []

    @property
    def egress_policy(self) -> EgressPolicy | None:
        """What the group's sandboxes may reach, unless one has a policy of its own."""
        return self._group.egress_policy

    @property
    def is_open(self) -> bool:
        """Whether the group has started."""
        task = self._opening
        return task is not None and task.done() and not _failed(task)

    def open(self) -> None:
        """Begins to start the group, unless it is starting or has started."""
        if self._opening is not None and _failed(self._opening):
            # A group starts once; one that could not is replaced.
            self._group, self._opening = self._made(), None
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(), name="start sandbox group")

    async def group(self) -> SandboxGroup:
        """The started group.

        Raises:
            SandboxError: it could not be started. The next call tries again.
        """
        self.open()
        opening = self._opening
        if opening is not None and not opening.done():
            # A call that goes away must not take the start with it: others wait for the same one.
            await asyncio.shield(opening)
        return self._group

    async def close(self, *, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Ends running calls, and the group with everything it started. Idempotent."""
        self.closing.set()
        opening, self._opening = self._opening, None
        if opening is None:
            return
        opening.cancel()
        await asyncio.wait([opening], timeout=timeout_s)
        await self._group.end_group(timeout_s=timeout_s)

    def _made(self) -> SandboxGroup:
        group = self._make()
        group.on_tools_changed(self._tools_changed)
        group.registry.reserve(self._reserved)
        return group

    async def _open(self) -> None:
        try:
            await self._group.start_sandbox_group(wait_for_tools=False)
        except SandboxError as error:
            logger.error("the sandbox group did not start: %s", error)
            raise
        except Exception:
            # Nobody may be waiting yet; without this line the operator would learn of it last.
            logger.exception("the sandbox group did not start")
            raise


def _failed(task: asyncio.Task[None]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
