"""Typed methods for the built-in tools, such as `sandbox.filesystem.read(...)`.

Each signature is the tool's argument model, written once more so that editors and type checkers
know it; a test compares the two. A failure of the tool is raised as `ToolCallError`.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any, Literal, Protocol, Self, TypeVar

from tool_plugins.contract import ActionEvent, Observation, ObservationEvent, OutputEvent, Result
from tool_plugins.errors import SandboxStateError, ToolCallError
from tool_plugins.filesystem import arguments, results
from tool_plugins.terminal import results as terminal
from tool_plugins.terminal.arguments import SignalName

Answer = TypeVar("Answer", bound=Result)


class Executes(Protocol):
    """The part of a `Sandbox` that typed methods need."""

    async def execute(self, action: str, args: Mapping[str, Any], /) -> Observation:
        """See `Sandbox.execute`."""
        ...

    def stream(self, action: str, args: Mapping[str, Any], /) -> AsyncGenerator[ActionEvent]:
        """See `Sandbox.stream`."""
        ...


class FilesystemTools:
    """Files of the workspace. The arguments are described in the tools themselves."""

    def __init__(self, sandbox: Executes) -> None:
        self._sandbox = sandbox

    async def read(
        self,
        path: str,
        *,
        start_line: int = 1,
        max_lines: int = 2000,
        tail: bool = False,
        format: Literal["text", "base64"] = "text",
    ) -> results.ReadResult:
        """Reads a file as numbered lines, or its bytes as base64."""
        return await call(results.ReadResult, "filesystem.read", locals())

    async def write(
        self,
        path: str,
        content: str,
        *,
        mode: Literal["create", "overwrite", "append"] = "create",
        encoding: Literal["utf-8", "base64"] = "utf-8",
        expected_sha256: str | None = None,
        executable: bool | None = None,
    ) -> results.WriteResult:
        """Writes a whole file, or adds to its end."""
        return await call(results.WriteResult, "filesystem.write", locals())

    async def edit(
        self,
        path: str,
        edits: Sequence[arguments.Edit | Mapping[str, Any]],
        *,
        dry_run: bool = False,
        expected_sha256: str | None = None,
    ) -> results.EditResult:
        """Replaces exact pieces of text: all edits are applied, or none."""
        return await call(results.EditResult, "filesystem.edit", locals())

    async def list(
        self,
        path: str = ".",
        *,
        depth: int = 1,
        include_hidden: bool = False,
        respect_gitignore: bool = True,
        max_entries: int = 500,
    ) -> results.ListResult:
        """Lists a folder, level by level, or describes one file."""
        return await call(results.ListResult, "filesystem.list", locals())

    async def glob(self, pattern: str, *, path: str = ".", limit: int = 200) -> results.GlobResult:
        """Finds files by a pattern of their path, newest first."""
        return await call(results.GlobResult, "filesystem.glob", locals())

    async def grep(
        self,
        pattern: str,
        *,
        path: str = ".",
        glob: str | None = None,
        mode: Literal["files", "lines", "count"] = "files",
        context: int = 0,
        ignore_case: bool = False,
        literal: bool = False,
        multiline: bool = False,
        limit: int = 250,
        offset: int = 0,
    ) -> results.GrepResult:
        """Searches the content of files."""
        return await call(results.GrepResult, "filesystem.grep", locals())

    async def move(
        self, source: str, destination: str, *, copy: bool = False, overwrite: bool = False
    ) -> results.MoveResult:
        """Moves, renames or copies a file or folder."""
        return await call(results.MoveResult, "filesystem.move", locals())

    async def delete(self, path: str, *, recursive: bool = False) -> results.DeleteResult:
        """Deletes a file, a link, or a folder."""
        return await call(results.DeleteResult, "filesystem.delete", locals())


class CommandStream:
    """The live output of a command: iterate it, then take `result`. Closing it ends the command."""

    def __init__(self, events: AsyncGenerator[ActionEvent]) -> None:
        self._events = events
        self._result: terminal.RunResult | None = None

    @property
    def result(self) -> terminal.RunResult:
        """What `terminal.run` would have returned. Known once the iteration is over.

        Raises:
            SandboxStateError: it is not over yet.
        """
        if self._result is None:
            raise SandboxStateError("the command has no result yet", hint="iterate to the end")
        return self._result

    async def __aiter__(self) -> AsyncIterator[OutputEvent]:
        async for event in self._events:
            if isinstance(event, OutputEvent):
                yield event
            elif isinstance(event, ObservationEvent):
                self._result = unwrap(terminal.RunResult, event.observation)

    async def aclose(self) -> None:
        """Ends the command, if it still runs."""
        await self._events.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.aclose()


class TerminalTools:
    """Commands in the sandbox's shells. The arguments are described in the tools themselves."""

    def __init__(self, sandbox: Executes) -> None:
        self._sandbox = sandbox

    async def run(
        self,
        command: str,
        *,
        session: str = "main",
        timeout_s: float = 60.0,
        wait_s: float = 45.0,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        stdin: str | None = None,
        background: bool = False,
        pty: bool = False,
        on_timeout: Literal["kill", "background"] = "kill",
    ) -> terminal.RunResult:
        """Runs a command with bash. A non-zero exit code is an ordinary result."""
        return await call(terminal.RunResult, "terminal.run", locals())

    def stream(
        self,
        command: str,
        *,
        session: str = "main",
        timeout_s: float = 60.0,
        wait_s: float = 45.0,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        stdin: str | None = None,
        background: bool = False,
        pty: bool = False,
        on_timeout: Literal["kill", "background"] = "kill",
    ) -> CommandStream:
        """Runs a command and gives its output while it runs."""
        sandbox, given = _split(locals())
        return CommandStream(sandbox.stream("terminal.run", given))

    async def read(
        self,
        process_id: str,
        *,
        since: str | None = None,
        wait_s: float = 0.0,
        wait_for: str | None = None,
        max_chars: int = 20_000,
    ) -> terminal.ReadResult:
        """Returns output of a process that was not shown yet, and its status."""
        return await call(terminal.ReadResult, "terminal.read", locals())

    async def write(
        self,
        process_id: str,
        text: str | None = None,
        *,
        keys: Sequence[str] | None = None,
        close_stdin: bool = False,
        wait_s: float = 1.0,
        wait_for: str | None = None,
        max_chars: int = 20_000,
    ) -> terminal.ReadResult:
        """Types into a process and returns its answer."""
        return await call(terminal.ReadResult, "terminal.write", locals())

    async def kill(
        self,
        process_id: str | None = None,
        *,
        session: str | None = None,
        signal: SignalName = "TERM",
        grace_s: float = 3.0,
    ) -> terminal.KillResult:
        """Ends a process, or a session, with all its descendants."""
        return await call(terminal.KillResult, "terminal.kill", locals())

    async def list(self) -> terminal.ListResult:
        """Lists the processes and sessions there are."""
        return await call(terminal.ListResult, "terminal.list", locals())


def _split(method_locals: dict[str, Any]) -> tuple[Executes, dict[str, Any]]:
    """The sandbox and the arguments of a typed method, from its own `locals()`."""
    given = dict(method_locals)
    return given.pop("self")._sandbox, given


async def call(result: type[Answer], tool: str, method_locals: dict[str, Any]) -> Answer:
    """Runs a tool with the arguments of the typed method that calls this."""
    sandbox, given = _split(method_locals)
    return unwrap(result, await sandbox.execute(tool, given))


def unwrap(result: type[Answer], observation: Observation) -> Answer:
    """The typed result, or the tool's failure raised."""
    failure = observation.error
    if failure is not None:
        raise ToolCallError(
            failure.code, failure.message, hint=failure.hint, details=failure.details
        )
    return result.model_validate(observation.data)
