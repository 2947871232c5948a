"""What a caller holds: one sandbox to act in."""

import asyncio
import warnings
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from container_runtime.connection import Connection, ConnectionLost, FolderResult, UploadResult
from container_runtime.spec import EffectiveLimit
from tool_plugins.contract import (
    Action,
    ActionEvent,
    ChangeEvent,
    Observation,
    ObservationEvent,
)
from tool_plugins.errors import ProtocolError, SandboxError, ToolCallError, ToolError

from .actions import parse_actions, run_actions
from .lifecycle import Lifecycle
from .models import Principal, SandboxInfo, SandboxState
from .observations import unanswered
from .planning import Planner
from .services import Services

if TYPE_CHECKING:
    from tool_plugins.tool.results import ListResult, RegisterResult, RemoveResult

    from .databases.facades import DatabaseTools, VectorTools
    from .egress.control import Egress
    from .facades import FilesystemTools, TerminalTools
    from .tools.facade import CustomTools
    from .tools.models import CustomTool
    from .web import BrowserTools, DocumentTools, WebTools


class Sandbox:
    """A container of one's own. Made by `SandboxGroup.create_sandbox`.

    `async with` starts and ends it. A failure the caller can mend comes back in
    `Observation.error`; what is raised says that the sandbox or the call is at fault.
    """

    def __init__(self, owner: Principal, life: Lifecycle, services: Services) -> None:
        self._owner = owner
        self._life = life
        self._services = services
        self._planner = Planner(life, services, self.execute)

    @property
    def id(self) -> str:
        """The handle of the sandbox, also after a restart. It proves nothing about its bearer."""
        return self._life.record.id

    @property
    def name(self) -> str:
        """The name the owner gave it."""
        return self._life.record.name

    @property
    def owner(self) -> Principal:
        """Who made it."""
        return self._owner

    @property
    def state(self) -> SandboxState:
        """Where the sandbox is in its life."""
        return self._life.state

    @property
    def limits(self) -> tuple[EffectiveLimit, ...]:
        """Every limit and what enforces it. Known once the sandbox is started."""
        return self._life.limits

    @cached_property
    def filesystem(self) -> "FilesystemTools":
        """The filesystem tools as typed methods."""
        # Not at the top: the models of all built-in tools would slow down every import of the SDK.
        from .facades import FilesystemTools

        return FilesystemTools(self)

    @cached_property
    def terminal(self) -> "TerminalTools":
        """The terminal tools as typed methods."""
        from .facades import TerminalTools

        return TerminalTools(self)

    @cached_property
    def database(self) -> "DatabaseTools":
        """The database tools as typed methods."""
        from .databases.facades import DatabaseTools

        return DatabaseTools(self)

    @cached_property
    def vector(self) -> "VectorTools":
        """The vector tools as typed methods."""
        from .databases.facades import VectorTools

        return VectorTools(self)

    @cached_property
    def web(self) -> "WebTools":
        """The web tools as typed methods."""
        from .web import WebTools

        return WebTools(self)

    @cached_property
    def document(self) -> "DocumentTools":
        """The document tool as a typed method."""
        from .web import DocumentTools

        return DocumentTools(self)

    @cached_property
    def browser(self) -> "BrowserTools":
        """The browser tools as typed methods."""
        from .web import BrowserTools

        return BrowserTools(self)

    @cached_property
    def tools(self) -> "CustomTools":
        """The custom tools as functions: `sandbox.tools.my_tools.my_function(...)`."""
        from .tools.facade import CustomTools

        return CustomTools(self, lambda: self._life.tools.shelf)

    @cached_property
    def egress(self) -> "Egress":
        """What the sandbox may reach on the network, and what it tried."""
        from .egress.control import Egress

        return Egress(self._life)

    def info(self) -> SandboxInfo:
        """All that is known of it, from memory."""
        record, remaining = self._life.record, self._life.lease.remaining_s()
        now = datetime.fromtimestamp(self._services.clock.wall(), UTC)
        expires = None
        if self.state.live and remaining is not None:
            expires = now + timedelta(seconds=remaining)
        ended_at = record.ended_at
        return SandboxInfo(
            id=record.id,
            name=record.name,
            owner=self._owner,
            state=record.state,
            resources=record.resources,
            created_at=datetime.fromtimestamp(record.created_at, UTC),
            expires_at=expires,
            ended_at=None if ended_at is None else datetime.fromtimestamp(ended_at, UTC),
            end_cause=record.end_cause,
            limits=self.limits,
        )

    async def start(self) -> None:
        """Makes the container and waits until it answers. Does nothing when it is ready.

        Raises:
            EngineError: the engine failed; nothing of the sandbox is left.
            SandboxGoneError: it was ended before or meanwhile.
        """
        await self._life.start()

    async def end(self) -> None:
        """Ends it. Returns at once; the group removes the container in the background."""
        await self._life.end()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.end()

    def __del__(self) -> None:
        if self._life.forgotten:
            warnings.warn(f"sandbox {self.id} was never ended", ResourceWarning, stacklevel=2)

    async def execute(
        self,
        action: Action | str,
        args: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Observation:
        """Does one thing. `timeout_s` replaces the deadline that follows from the tool.

        Raises:
            UnknownToolError: no tool has the name.
            SandboxStateError: the sandbox is not started.
            SandboxGoneError: it ended before or while the action ran; `cause` says why.
        """
        job = self._planner.job(action, args, timeout_s)
        try:
            async with self.connected() as connection:
                return await job.execute(connection)
        except (TimeoutError, ConnectionLost) as exc:
            return unanswered(job.action, exc, job.deadline_s)

    async def stream(
        self,
        action: Action | str,
        args: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[ActionEvent]:
        """Does one thing and tells of it meanwhile; the last event holds the observation.

        Closing the iterator cancels the action. Raises as `execute` does.
        """
        job = self._planner.job(action, args, timeout_s)
        try:
            async with (
                self.connected() as connection,
                aclosing(job.stream(connection)) as events,
            ):
                async for event in events:
                    yield event
        except (TimeoutError, ConnectionLost) as exc:
            yield ObservationEvent(observation=unanswered(job.action, exc, job.deadline_s))

    @overload
    async def send_actions(
        self, actions: Mapping[str, Mapping[str, Any]], *, parallel: bool = False
    ) -> dict[str, Observation]: ...

    @overload
    async def send_actions(
        self, actions: Sequence[Action], *, parallel: bool = False
    ) -> list[Observation]: ...

    async def send_actions(
        self,
        actions: Mapping[str, Mapping[str, Any]] | Sequence[Action],
        *,
        parallel: bool = False,
    ) -> dict[str, Observation] | list[Observation]:
        """Does several things, in order or at once, and answers in the shape it was given.

        A mapping is `{"terminal.run": {"description": "...", "args": {...}}}`; a list holds
        `Action`s. To use one tool twice in a mapping, label the entries and name the tool inside:
        `{"first": {"tool": "terminal.run", "args": {...}}}`. An action that fails does not stop
        the ones after it. Nothing runs when an entry is malformed or its tool unknown.
        """
        parsed = parse_actions(actions)
        batch = list(parsed.values()) if isinstance(parsed, dict) else parsed
        for action in batch:
            self._planner.require(action.tool)
        observations = await run_actions(self.execute, batch, parallel=parallel)
        if isinstance(parsed, dict):
            return dict(zip(parsed, observations, strict=True))
        return observations

    async def upload(
        self,
        path: str,
        content: bytes | AsyncIterable[bytes],
        *,
        mode: Literal["overwrite", "create"] = "overwrite",
        executable: bool = False,
    ) -> UploadResult:
        """Writes a file, all or nothing, without holding it in memory."""
        async with self._using() as connection:
            return await connection.upload(path, content, mode=mode, executable=executable)

    async def download(self, path: str) -> AsyncGenerator[bytes]:
        """Reads a file in pieces."""
        async with self._using() as connection, aclosing(connection.download(path)) as pieces:
            async for piece in pieces:
                yield piece

    async def upload_folder(self, source: Path | str, path: str = ".") -> FolderResult:
        """Copies a folder of this machine into the sandbox."""
        async with self._using() as connection:
            return await connection.upload_folder(Path(source), path)

    async def download_folder(self, path: str, target: Path | str) -> FolderResult:
        """Copies a folder of the sandbox to this machine. Nothing leaves `target`."""
        async with self._using() as connection:
            return await connection.download_folder(path, Path(target))

    @asynccontextmanager
    async def watch(
        self, path: str = ".", *, recursive: bool = True
    ) -> AsyncIterator[AsyncIterator[ChangeEvent]]:
        """Tells of every change below a folder while the block lasts.

        `async with sandbox.watch("src") as changes: async for change in changes: ...`
        """
        async with (
            self._using() as connection,
            connection.watch(path, recursive=recursive) as changes,
        ):
            yield changes

    async def add_tools(
        self, source: Path | str, *, namespace: str | None = None, timeout_s: float = 300.0
    ) -> "RegisterResult":
        """Turns a Python file into tools of this sandbox, or replaces those of its namespace.

        `source` is the `Path` of a file of this machine, whose name is the namespace, or the text
        of one, with its `namespace`. The file is only ever read as Python inside the sandbox.

        Raises:
            ToolCallError: it does not work; everything is as it was before.
            ConfigurationError: a text came without a namespace.
        """
        from .tools.managing import given_source

        async with self._using() as connection:
            found = await asyncio.to_thread(given_source, source, namespace)
            return await self._life.tools.register(connection, found, timeout_s)

    async def remove_tools(self, namespace: str) -> "RemoveResult":
        """Takes a file of custom tools away that was added to this sandbox.

        Raises:
            ToolCallError: there is none of that namespace, or it came with the group.
        """
        async with self._using() as connection:
            return await self._life.tools.remove(connection, namespace)

    def custom_tools(self) -> "list[CustomTool]":
        """The custom tools that can be seen here: the group's, and those of this sandbox."""
        return self._life.tools.shelf.tools()

    def list_tools(self, namespace: str | None = None) -> "ListResult":
        """The files of custom tools that can be seen here, with their errors.

        With a namespace only that file, with the schemas of its tools.
        """
        return self._life.tools.list(namespace)

    async def reset_database(self, name: str) -> None:
        """Gives the sandbox a fresh copy of a database; what it wrote is lost.

        Raises:
            ToolCallError: there is none of that name, or it is shared.
        """
        self._life.connection()
        with self._life.lease.hold():
            try:
                await self._life.databases().reset(name)
            except ToolError as exc:
                raise ToolCallError(
                    exc.code, exc.message, hint=exc.hint, details=exc.details
                ) from exc

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Connection]:
        """The action server itself, for parts of the SDK: the lease is held, a loss explained."""
        connection = self._life.connection()
        with self._life.lease.hold():
            try:
                yield connection
            except (TimeoutError, ConnectionLost) as exc:
                gone = await self._life.examine()
                if gone is not None:
                    raise gone from exc
                raise
            except ProtocolError:
                await self._life.end()
                raise

    @asynccontextmanager
    async def _using(self) -> AsyncIterator[Connection]:
        """The same for what has no observation that its failures could travel in."""
        try:
            async with self.connected() as connection:
                yield connection
        except ToolError as exc:
            raise ToolCallError(exc.code, exc.message, hint=exc.hint, details=exc.details) from exc
        except ConnectionLost as exc:
            raise SandboxError(
                f"the connection to {self.id} broke", hint="the transfer is incomplete; repeat it"
            ) from exc
