"""What each terminal tool answers. Host side: pydantic, never the executors."""

from typing import Annotated, Literal

from pydantic import Field

from tool_plugins.contract import Result

Status = Literal["running", "exited", "timed_out", "killed"]
Cause = Literal["oom", "pids"]


class ProcessState(Result):
    """How a process stands."""

    process_id: str
    status: Status
    exit_code: Annotated[
        int | None, Field(description="As the shell gives it: 128 + n for signal n.")
    ] = None
    signal: Annotated[str | None, Field(description="Such as SIGKILL.")] = None


class RunResult(ProcessState):
    """What came of a command."""

    cause: Annotated[
        Cause | None,
        Field(description="'oom': memory ran out. 'pids': the limit of processes was hit."),
    ] = None
    stdout: str
    stderr: str
    truncated: Annotated[
        bool, Field(description="The middle of a long output is left out of stdout or stderr.")
    ] = False
    omitted: Annotated[int, Field(description="Bytes left out.")] = 0
    stdout_bytes: int
    stderr_bytes: int
    output_file: Annotated[
        str | None, Field(description="A file in the sandbox with more of a long output.")
    ] = None
    cwd: Annotated[str, Field(description="The session's folder after the command.")]
    duration_s: float
    shell_restarted: Annotated[
        bool,
        Field(
            description=(
                "The shell ended too; the session goes on in a new one, with the state it had "
                "before this command."
            )
        ),
    ] = False


class ReadResult(ProcessState):
    """Output that was not shown yet."""

    stdout: str
    stderr: str
    next_cursor: str
    more: Annotated[bool, Field(description="There is more output to read right now.")] = False
    omitted: Annotated[
        int, Field(description="Bytes after the cursor that are no longer there.")
    ] = 0
    matched: Annotated[bool | None, Field(description="Whether wait_for was found.")] = None


class KillResult(Result):
    """How it stands now, and what was killed."""

    status: Status
    killed_pids: list[int]


class ProcessInfo(Result):
    """One process of terminal_list. What it uses is that of all its living descendants."""

    id: str
    command: str
    session: str
    status: Status
    started_at: str
    exit_code: int | None = None
    signal: str | None = None
    pids: list[int]
    cpu_s: float
    rss_bytes: int
    ports: Annotated[
        list[int] | None, Field(description="TCP ports it listens on; null if not known.")
    ] = None


class SessionInfo(Result):
    """One shell session. `process_id` is what runs in it."""

    name: str
    cwd: str
    busy: bool
    process_id: str | None = None


class ListResult(Result):
    """All that the terminal knows of."""

    processes: list[ProcessInfo]
    omitted: Annotated[
        int, Field(description="Older ended processes that are left out; terminal_read knows them.")
    ] = 0
    sessions: list[SessionInfo]
