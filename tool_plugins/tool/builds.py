"""What this action server knows of custom tools: sources, and the processes that have loaded them.

Nothing of a source runs here. It is kept in memory only: the host has it, and installs it again
where it is missing.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tool_plugins.context import Host
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.worker.prepared import Crowd, PreparedPool, Spares

from .memory import worker_memory_mb

PROGRAM = "tool_plugins.tool.program"
MAX_BUILDS = 128
MAX_SOURCES_BYTES = 16 * 1024 * 1024
MAX_PROCESSES = 4
"""Of one build. Its other calls wait."""

MAX_WAITING = 8
"""Processes of all builds that have nothing to do. Each takes some 30 MB."""

MAX_CALLS = 1000
IDLE_S = 300.0


class Build:
    """One source with the packages beside it. `running` counts the calls it has now."""

    def __init__(self, id: str, file: dict[str, Any], pool: PreparedPool) -> None:
        self.id = id
        self.file = file
        self.pool = pool
        self.running = 0
        self.dropped = False

    @property
    def filename(self) -> str:
        """What messages call the file."""
        return f"{self.file['namespace']}.py"

    @property
    def size(self) -> int:
        """The bytes that count against the limit of all."""
        return len(self.file["source"].encode("utf-8", "replace"))


class Builds:
    """All builds of one host. Those not used for the longest time make room for new ones."""

    def __init__(self, host: Host) -> None:
        self._host = host
        # The one used last comes last.
        self._builds: dict[str, Build] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._crowd = Crowd(MAX_WAITING)
        self._options: dict[str, Any] = {
            "idle_s": IDLE_S,
            "memory_mb": worker_memory_mb(),
            "folder": host.workspace,
            "capture": True,
        }
        self.spares = Spares(host, PROGRAM, first=("warm", {}), **self._options)

    def install(
        self, id: str, *, namespace: str, source: str, environment: str | None, process: str
    ) -> None:
        """Keeps a source, and gets a process ready for it.

        Raises:
            ToolError: too many are in use (QUOTA_EXCEEDED).
        """
        if id in self._builds:
            self._builds[id].dropped = False
        else:
            file = {
                "namespace": namespace,
                "source": source,
                "environment": environment,
                "workspace": str(self._host.workspace),
            }
            pool = PreparedPool(
                self._host,
                PROGRAM,
                first=("load", file),
                size=MAX_PROCESSES,
                spares=self.spares,
                max_calls=1 if process == "call" else MAX_CALLS,
                crowd=self._crowd,
                **self._options,
            )
            build = Build(id, file, pool)
            self._make_room(build.size)
            self._builds[id] = build
        self.spares.warm()

    @contextmanager
    def use(self, id: str) -> Iterator[Build]:
        """The build, which is there until the end of the block even if it is dropped meanwhile.

        Raises:
            ToolError: it is not installed (NOT_FOUND, `details` {"missing": "build"}).
        """
        build = self._builds.get(id)
        if build is None or build.dropped:
            raise ToolError(
                ErrorCode.NOT_FOUND,
                f"no build {id!r} is installed",
                details={"missing": "build"},
            )
        self._builds[id] = self._builds.pop(id)
        build.running += 1
        try:
            yield build
        finally:
            build.running -= 1
            if build.dropped and not build.running:
                self._close(build)

    def drop(self, id: str) -> None:
        """Takes no more calls for it; its processes end with the last one that runs."""
        build = self._builds.get(id)
        if build is None:
            return
        build.dropped = True
        if not build.running:
            self._close(build)

    async def aclose(self) -> None:
        """Ends every process."""
        pools = [build.pool for build in self._builds.values()]
        await asyncio.gather(*(pool.aclose() for pool in [*pools, self.spares]))
        await asyncio.gather(*self._closing)

    def _close(self, build: Build) -> None:
        self._builds.pop(build.id, None)
        task = asyncio.get_running_loop().create_task(build.pool.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _make_room(self, size: int) -> None:
        unused = [build for build in self._builds.values() if not build.running]
        used = size + sum(build.size for build in self._builds.values())
        count = len(self._builds) + 1
        for build in unused:
            if count <= MAX_BUILDS and used <= MAX_SOURCES_BYTES:
                return
            self._close(build)
            used -= build.size
            count -= 1
        if count > MAX_BUILDS or used > MAX_SOURCES_BYTES:
            raise ToolError(
                ErrorCode.QUOTA_EXCEEDED,
                "too many files of custom tools are in use in this sandbox",
                hint="wait until some of their calls have ended",
            )
