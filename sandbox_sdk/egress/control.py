"""A sandbox's way to the network, as its user sees it: `sandbox.egress`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox_sdk.config import environment
from tool_plugins.errors import ConfigurationError

from .decision import EgressDecision
from .loading import parse_policy
from .policy import EgressPolicy

if TYPE_CHECKING:
    from sandbox_sdk.lifecycle import Lifecycle


class Egress:
    """The policy of one sandbox and the log of what was decided by it."""

    def __init__(self, life: "Lifecycle") -> None:
        self._life = life

    @property
    def policy(self) -> EgressPolicy | None:
        """What the sandbox may reach; None where it has no network."""
        return self._life.egress.policy(self._life.record.id)

    async def set_policy(self, policy: EgressPolicy | Mapping[str, Any] | Path | str) -> None:
        """Replaces what the sandbox may reach. Open connections it forbids are closed at once.

        `policy` as for `SandboxGroup(egress_policy=...)`. It holds for this sandbox until it ends,
        also after a restart of the server.

        Raises:
            ConfigurationError: the policy is wrong, or the group cannot honour it; the old one
                stays.
        """
        self._life.connection()
        parsed = parse_policy(policy, environment())
        if parsed is None:
            raise ConfigurationError("no policy was given", hint="an empty one lets nothing out")
        await self._life.egress.set_policy(self._life.record.id, parsed)

    def log(self) -> tuple[EgressDecision, ...]:
        """What was decided on the last 1,000 connections, oldest first."""
        return self._life.egress.decisions(self._life.record.id)
