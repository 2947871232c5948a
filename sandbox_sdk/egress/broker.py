"""The proxies of one started group: one for each sandbox, listening while its container exists."""

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from container_runtime.engine import Engine
from container_runtime.spec import EGRESS_CA, EGRESS_SOCKET
from tool_plugins.errors import ConfigurationError, SandboxStateError

from .decision import EgressDecision
from .policy import EgressPolicy

if TYPE_CHECKING:
    from .proxy import EgressProxy
    from .resolver import Resolver

ROBOTS_VARIABLE = "WEB_ROBOTS"
"""Tells the web tools inside to heed robots.txt. A courtesy to servers, not a boundary."""


class EgressBroker:
    """Opens a proxy for a sandbox and closes it with the sandbox.

    A group without a policy has one too: its sandboxes have no network, and it removes what an
    earlier group left of a sandbox. `folder` keeps the policies that differ from the group's, so
    that a restarted server knows them.
    """

    def __init__(self, policy: EgressPolicy | None, engine: Engine, folder: Path) -> None:
        self._policy = policy
        self._engine = engine
        self._folder = folder
        self._proxies: dict[str, EgressProxy] = {}
        self._resolver: Resolver | None = None

    @property
    def enabled(self) -> bool:
        """Whether sandboxes of this group get a way to the network at all."""
        return self._policy is not None

    def check(self, policy: EgressPolicy | None) -> None:
        """Refuses a sandbox's own policy where the group could not honour it.

        Raises:
            ConfigurationError: says why.
        """
        if policy is None:
            return
        if self._policy is None:
            raise ConfigurationError(
                "this group's sandboxes have no network, so they have no policy either",
                hint="give the group an egress_policy; an empty one lets nothing out",
            )
        if policy.web_request and not self._policy.web_request:
            raise ConfigurationError(
                "web_request is off for the group, so no sandbox can have the tool",
                hint="set web_request in the group's policy, and take it from other sandboxes",
            )

    async def restrict(self, sandbox_id: str, policy: EgressPolicy | None) -> None:
        """Writes down the policy of one sandbox, where it differs from the group's."""
        if policy is not None:
            await asyncio.to_thread(_write, self._file(sandbox_id), policy)

    def environment(self, sandbox_id: str) -> dict[str, str]:
        """Variables of a sandbox that is about to be made."""
        robots = self.enabled and self._stored(sandbox_id).robots
        return {ROBOTS_VARIABLE: "1"} if robots else {}

    async def open(self, sandbox_id: str) -> None:
        """Listens for a sandbox whose container exists, before it starts. Idempotent.

        Raises:
            ConfigurationError: the engine shares no folder with its containers, or `ca_file`
                cannot be read.
        """
        if not self.enabled or sandbox_id in self._proxies:
            return
        shared = self._engine.layout(sandbox_id).shared
        if shared is None:
            raise ConfigurationError(
                "this engine shares no folder with its containers, so no proxy can be reached "
                "from them",
                hint="leave egress_policy out, or use an engine on this machine",
            )
        from .proxy import EgressProxy
        from .resolver import Resolver

        policy = await asyncio.to_thread(self._known, sandbox_id)
        if policy is not None and policy.ca_file is not None:
            await asyncio.to_thread(_copy, policy.ca_file, shared / EGRESS_CA)
        if self._resolver is None:
            self._resolver = Resolver()
        proxy = self._proxies[sandbox_id] = EgressProxy(policy, self._resolver, name=sandbox_id)
        await proxy.listen(shared / EGRESS_SOCKET)

    def policy(self, sandbox_id: str | None) -> EgressPolicy | None:
        """What holds for a sandbox, or for the group; None where there is no network."""
        if sandbox_id is None or self._policy is None:
            return self._policy
        return self._stored(sandbox_id)

    async def set_policy(self, sandbox_id: str, policy: EgressPolicy) -> None:
        """Replaces the policy of a running sandbox, also for connections that are open.

        Raises:
            ConfigurationError: the group cannot honour it; the old one stays.
        """
        self.check(policy)
        proxy = self._proxies.get(sandbox_id)
        if proxy is None:
            raise SandboxStateError(f"sandbox {sandbox_id} has no proxy", hint="start it first")
        before = self._stored(sandbox_id)
        if policy.ca_file != before.ca_file:
            raise ConfigurationError(
                "ca_file cannot change while a sandbox runs: its programs have read it",
                hint="make a new sandbox",
            )
        # First what holds, then what is remembered: a full disk must not keep a hole open.
        proxy.set_policy(policy)
        await asyncio.to_thread(_write, self._file(sandbox_id), policy)

    def decisions(self, sandbox_id: str) -> tuple[EgressDecision, ...]:
        """The last decisions on a sandbox's connections, oldest first."""
        proxy = self._proxies.get(sandbox_id)
        return () if proxy is None else proxy.decisions()

    async def close(self, sandbox_id: str) -> None:
        """Ends a sandbox's connections. Idempotent."""
        proxy = self._proxies.pop(sandbox_id, None)
        if proxy is not None:
            await proxy.aclose()

    async def drop(self, sandbox_id: str) -> None:
        """Removes all that is kept of a sandbox. Idempotent."""
        await self.close(sandbox_id)
        await asyncio.to_thread(self._file(sandbox_id).unlink, missing_ok=True)

    async def aclose(self) -> None:
        """Ends every connection; sandboxes that live on are without network. Idempotent."""
        await asyncio.gather(*(self.close(each) for each in list(self._proxies)))
        resolver, self._resolver = self._resolver, None
        if resolver is not None:
            await resolver.aclose()

    def _file(self, sandbox_id: str) -> Path:
        return self._folder / f"{sandbox_id}.json"

    def _known(self, sandbox_id: str) -> EgressPolicy | None:
        """The policy, or None where it was written down and cannot be read: nothing goes out."""
        try:
            return self._stored(sandbox_id)
        except (OSError, ValueError):
            return None

    def _stored(self, sandbox_id: str) -> EgressPolicy:
        from .loading import restore_policy

        try:
            text = self._file(sandbox_id).read_text()
        except FileNotFoundError:
            assert self._policy is not None, "a group without a policy is asked for none"
            return self._policy
        return restore_policy(text)


def _write(file: Path, policy: EgressPolicy) -> None:
    """Replaces the file at once: its policy may hold secrets, and half of it is none."""
    from .loading import store_policy

    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_suffix(".new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(store_policy(policy))
    draft.replace(file)


def _copy(source: Path, target: Path) -> None:
    try:
        certificates = source.read_bytes()
    except OSError as exc:
        raise ConfigurationError(
            f"the ca_file {str(source)!r} of the egress policy cannot be read: {exc.strerror}"
        ) from exc
    target.parent.mkdir(parents=True, exist_ok=True)
    target.parent.chmod(0o711)
    target.write_bytes(certificates)
    target.chmod(0o644)
