"""The handle of one Docker container."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from container_runtime.engine import Container
from container_runtime.limits import verify
from container_runtime.spec import (
    ContainerSpec,
    ContainerStatus,
    EffectiveLimit,
    Endpoint,
    TcpEndpoint,
    UnixEndpoint,
)
from tool_plugins.errors import EngineError

from .docker_client import NOT_FOUND, DockerClient, EngineRefusal
from .docker_config import Access, discarded
from .docker_folder import SandboxFolder
from .docker_network import address
from .docker_readings import check_workspace, read_limits

MAX_LAST_WORDS = 300

Discard = Callable[[str], Awaitable[None]]


class DockerContainer(Container):
    """A container that exists on a Docker Engine. Holds nothing that would need closing."""

    def __init__(
        self,
        client: DockerClient,
        spec: ContainerSpec,
        folder: SandboxFolder,
        table: tuple[EffectiveLimit, ...],
        access: Access,
        discard: Discard,
        *,
        record: dict[str, Any] | None = None,
    ) -> None:
        self.name = spec.name
        self.spec = spec
        self._client = client
        self._folder = folder
        self._table = table
        self._access = access
        self._discard = discard
        self._endpoint: Endpoint | None = None
        if access.reach == "unix":
            self._endpoint = UnixEndpoint(folder.socket)
        elif record is not None and record["State"]["Running"]:
            self._endpoint = self._tcp(record)

    @property
    def endpoint(self) -> Endpoint:
        if self._endpoint is None:
            raise EngineError(f"container {self.name!r} has no address before it is started")
        return self._endpoint

    def _tcp(self, record: dict[str, Any]) -> TcpEndpoint:
        host, port = address(record, self._access.reach, self._client.host)
        return TcpEndpoint(host, port, self._access.token)

    async def start(self) -> None:
        def work(api: Any) -> dict[str, Any]:
            api.start(self.name)
            return api.inspect_container(self.name)

        try:
            record = await self._client.run(work)
            if not record["State"]["Running"]:
                raise EngineError(
                    f"container {self.name!r} ended at once with exit code "
                    f"{record['State']['ExitCode']}: {record['State']['Error']}"
                )
            if any(limit.mechanism == "loop-ext4" for limit in self._table):
                check_workspace(record["State"]["Pid"], self._folder.workspace)
            if self._access.reach != "unix":
                self._endpoint = self._tcp(record)
        except EngineError:
            await self._stop()
            raise

    async def _stop(self) -> None:
        """Leaves nothing running after a failed start; what exists stays for `remove`."""
        try:
            await self._client.run(lambda api: api.kill(self.name))
        except EngineError:
            return  # it does not run, or the engine is gone and the first error says so

    async def status(self) -> ContainerStatus:
        try:
            state = (await self._client.run(lambda api: api.inspect_container(self.name)))["State"]
        except EngineRefusal as refusal:
            if refusal.status == NOT_FOUND:
                return ContainerStatus(running=False, error="the container is gone")
            raise
        if state["Running"] and not state.get("Dead", False):
            return ContainerStatus(running=True)
        return ContainerStatus(
            running=False,
            exit_code=state["ExitCode"],
            oom_killed=state["OOMKilled"],
            error=state["Error"] or await self._last_words(),
        )

    async def _last_words(self) -> str:
        """The last line the action server wrote before it ended, made harmless to print."""
        with suppress(EngineError):
            said = await self._client.run(lambda api: api.logs(self.name, tail=1))
            line = said.decode(errors="replace").strip()[:MAX_LAST_WORDS]
            return line.encode("unicode_escape").decode() if line else ""
        return ""

    async def limits(self) -> tuple[EffectiveLimit, ...]:
        record = await self._client.run(lambda api: api.inspect_container(self.name))
        table = discarded(self._table, record)
        pid = record["State"]["Pid"]
        if not pid:
            return table
        readings = await asyncio.to_thread(read_limits, pid, self._folder.workspace)
        return verify(table, readings)

    async def remove(self) -> None:
        await self._discard(self.name)
