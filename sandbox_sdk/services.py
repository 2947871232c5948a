"""What a sandbox needs from its group, handed down as one value."""

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from container_runtime.engine import Engine
from tool_plugins.registry import ToolRegistry

from .clock import Clock
from .tasks import Tasks

if TYPE_CHECKING:
    from .databases.broker import Broker
    from .egress.broker import EgressBroker
    from .search.provider import SearchProvider
    from .state import State
    from .tools.broker import ToolBroker

INSTALLATION_LABEL = "sandbox-sdk.installation"
SANDBOX_LABEL = "sandbox-sdk.sandbox"


def _start_slots() -> asyncio.Semaphore:
    """Starting is work for processors: more at once makes every one late and none earlier."""
    return asyncio.Semaphore(max(4, 2 * (os.cpu_count() or 1)))


@dataclass(frozen=True, slots=True)
class Services:
    """One per started group."""

    server_id: str
    engine: Engine
    state: "State"
    databases: "Broker"
    egress: "EgressBroker"
    search: "SearchProvider | None"
    tools: "ToolBroker"
    registry: ToolRegistry
    clock: Clock
    tasks: Tasks = field(default_factory=Tasks)
    start_slots: asyncio.Semaphore = field(default_factory=_start_slots)

    def labels(self, sandbox_id: str) -> dict[str, str]:
        """What ties a container to its row."""
        return self.installation_labels() | {SANDBOX_LABEL: sandbox_id}

    def installation_labels(self) -> dict[str, str]:
        """What every container of this installation carries."""
        return {INSTALLATION_LABEL: self.state.installation_id}
