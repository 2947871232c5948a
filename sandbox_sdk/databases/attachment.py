"""One database of one sandbox on its way to being usable: its copy, and where it is open."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tool_plugins.errors import ErrorCode, SandboxError, ToolError

from .access import Database
from .provisioner import Copy, Provisioner
from .worker.client import Worker
from .worker.pipe import WorkerLost


@dataclass(frozen=True, slots=True)
class Provisioned:
    """A database with what this sandbox may do in it, and who makes its copy.

    `file` is where it lies in the sandbox, if it is a file there: then only programs open it.
    """

    database: Database
    provisioner: Provisioner
    file: str | None = None


class Attachment:
    """Makes the copy on first use and opens it in the sandbox's worker.

    One step at a time, in a task of its own: when the call that began it is cancelled it goes on,
    and others that wait for it get their database.
    """

    def __init__(
        self, sandbox_id: str, provisioned: Provisioned, worker: Callable[[], Awaitable[Worker]]
    ) -> None:
        self.database = provisioned.database
        self.file = provisioned.file
        self._provisioner = provisioned.provisioner
        self._sandbox_id = sandbox_id
        self._worker = worker
        self._copy: Copy | None = None
        self._open_in: Worker | None = None
        self._step: asyncio.Task[Any] | None = None

    async def ready(self) -> Worker:
        """The worker in which the database is open.

        Raises:
            ToolError: DATABASE_UNAVAILABLE; nothing half-made is left and the next call tries anew.
        """
        while True:
            if self._step is None:
                worker = self._open_in
                if worker is not None and not worker.lost:
                    return worker
                self._begin(self._attach())
            await self._finish_step()

    async def settings(self) -> Mapping[str, Any]:
        """The settings of the copy, made where there is none yet.

        Raises:
            ToolError: as `ready`.
        """
        await self.ready()
        assert self._copy is not None, "what is open has a copy"
        return self._copy.settings

    def renew(self, refused: Worker) -> None:
        """Has a fresh credential made, because the server took the old one no more."""
        if self._open_in is refused:
            self._open_in, self._copy = None, None

    async def reset(self) -> None:
        """Drops the copy; the next call makes another.

        Raises:
            SandboxError: the server could not drop it.
        """
        while self._step is not None:
            with suppress(ToolError):
                await self._finish_step()
        await asyncio.shield(self._begin(self._drop()))

    async def terminate(self) -> None:
        """Ends what the database's server runs for this sandbox."""
        await self._provisioner.terminate(self._sandbox_id)

    async def aclose(self) -> None:
        """Stops what is being made; `Provisioner.drop` removes what there is of it."""
        step = self._step
        if step is not None:
            step.cancel()
            await asyncio.wait({step})

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(
            self._run(work), name=f"attach {self.database.name}"
        )
        self._step = task
        # Whoever waits gets what it raises; nobody may be left who does.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def _run(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            # Not the waiting calls were cancelled.
            raise ToolError(
                ErrorCode.DATABASE_UNAVAILABLE, f"{self.database.name} is being closed"
            ) from None
        finally:
            self._step = None

    async def _finish_step(self) -> None:
        if self._step is not None:
            await asyncio.shield(self._step)

    async def _attach(self) -> None:
        try:
            if self._copy is not None:
                try:
                    return await self._open(self._copy)
                except ToolError as exc:
                    if not exc.details.get("credential"):
                        raise
            access = self.database.access
            self._copy = await self._provisioner.create(self._sandbox_id, access)
            await self._open(self._copy)
        except SandboxError as exc:
            raise _unavailable(self.database.name, exc) from exc
        except WorkerLost as exc:
            raise ToolError(
                ErrorCode.DATABASE_UNAVAILABLE,
                f"the worker ended while it opened {self.database.name}: {exc.reason}",
                hint="try again",
            ) from exc

    async def _open(self, copy: Copy) -> None:
        worker = await self._worker()
        await worker.open(self.database.name, copy)
        self._open_in = worker

    async def _drop(self) -> None:
        worker, self._open_in, self._copy = self._open_in, None, None
        if worker is not None and not worker.lost:
            with suppress(WorkerLost):
                await worker.close(self.database.name)
        await self._provisioner.drop(self._sandbox_id)


def _unavailable(database: str, error: SandboxError) -> ToolError:
    """What a caller is told when a provisioner fails."""
    return ToolError(
        ErrorCode.DATABASE_UNAVAILABLE,
        f"{database} cannot be used now: {error.message}",
        hint="try again" if error.retryable else "",
    )
