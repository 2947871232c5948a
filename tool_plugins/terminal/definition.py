"""The terminal tools as a caller sees them. Host side: pydantic, never the executors."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from tool_plugins.contract import Annotations, Arguments, Result, ToolDefinition

from .keys import KEYS

MAX_COMMAND_CHARS = 100_000
MAX_STDIN_CHARS = 1_000_000
MAX_ENV_CHARS = 100_000
# Variables bash does not let anyone set.
READONLY_NAMES = frozenset(
    {"BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID", "BASHPID", "_"}
)

Status = Literal["running", "exited", "timed_out", "killed"]
Cause = Literal["oom", "pids"]
SignalName = Literal["TERM", "INT", "HUP", "QUIT", "KILL", "USR1", "USR2", "STOP", "CONT"]


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise ValueError("must be text that can be written as UTF-8") from exc
    return text


def _known_key(key: str) -> str:
    if key not in KEYS:
        raise ValueError(f"unknown key {key!r}; known keys: {', '.join(KEYS)}")
    return key


def _environment(env: dict[str, str]) -> dict[str, str]:
    for name in env:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name, re.ASCII):
            raise ValueError(f"{name!r} is not a name a variable can have")
        if name in READONLY_NAMES or name.startswith("__sandbox_"):
            raise ValueError(f"{name!r} cannot be set")
    if sum(len(name) + len(value) for name, value in env.items()) > MAX_ENV_CHARS:
        raise ValueError(f"must be at most {MAX_ENV_CHARS} characters altogether")
    return env


Text = Annotated[str, AfterValidator(_without_nul)]
ProcessId = Annotated[str, Field(min_length=1, max_length=32, description="From terminal.run.")]
SessionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
WaitFor = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=500,
        description=(
            "Return as soon as the output not seen yet matches this regular expression "
            "(no back references or look-around; ^ and $ match at line ends)."
        ),
    ),
]
MaxChars = Annotated[int, Field(ge=100, le=100_000)]


class RunArguments(Arguments):
    command: Annotated[
        Text,
        Field(
            min_length=1,
            max_length=MAX_COMMAND_CHARS,
            description="What bash is to run. May have several lines.",
        ),
    ]
    session: Annotated[
        SessionName,
        Field(
            description=(
                "Shell to run in. A session keeps its folder, variables and functions from call "
                "to call. Use different names to work in parallel."
            )
        ),
    ] = "main"
    timeout_s: Annotated[
        float,
        Field(
            gt=0,
            le=600,
            description=(
                "Hard deadline: then the command and all its descendants are killed. Does not "
                "apply with background=true."
            ),
        ),
    ] = 60.0
    wait_s: Annotated[
        float,
        Field(
            ge=0,
            le=600,
            description=(
                "How long this call waits. A command that takes longer goes on, status is "
                "'running', and terminal.read with the process_id gives the rest."
            ),
        ),
    ] = 45.0
    cwd: Annotated[
        Text | None,
        Field(
            min_length=1,
            max_length=4096,
            description="Folder for this command only, absolute or relative to the workspace.",
        ),
    ] = None
    env: Annotated[
        dict[str, Text] | None,
        AfterValidator(lambda env: env if env is None else _environment(env)),
        Field(description="Environment variables for this command only."),
    ] = None
    stdin: Annotated[
        Text | None,
        Field(
            max_length=MAX_STDIN_CHARS,
            description=(
                "Text the command reads from its standard input. Without it the input is empty; "
                "with background or pty it stays open for terminal.write."
            ),
        ),
    ] = None
    background: Annotated[
        bool,
        Field(
            description=(
                "Start it and return at once, for servers and watchers. It begins with the "
                "session's folder and variables but does not change or occupy the session."
            )
        ),
    ] = False
    pty: Annotated[
        bool,
        Field(
            description=(
                "Run it under a terminal of its own (120x40), for interactive programs. Both "
                "streams arrive in stdout. Like background, it does not change the session."
            )
        ),
    ] = False
    on_timeout: Annotated[
        Literal["kill", "background"],
        Field(description="What happens at timeout_s: kill it, or let it go on."),
    ] = "kill"


class ProcessState(Result):
    """How a process stands."""

    process_id: str
    status: Status
    exit_code: Annotated[
        int | None, Field(description="As the shell gives it: 128 + n for signal n.")
    ] = None
    signal: Annotated[str | None, Field(description="Such as SIGKILL.")] = None


class RunResult(ProcessState):
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


class ReadArguments(Arguments):
    process_id: ProcessId
    since: Annotated[
        str | None,
        Field(
            max_length=40,
            description=(
                "A next_cursor, to read from there; '0' for the beginning. Without it: what "
                "was not shown yet."
            ),
        ),
    ] = None
    wait_s: Annotated[
        float,
        Field(ge=0, le=60, description="How long to wait for new output, or for wait_for."),
    ] = 0.0
    wait_for: WaitFor = None
    max_chars: MaxChars = 20_000


class ReadResult(ProcessState):
    stdout: str
    stderr: str
    next_cursor: str
    more: Annotated[bool, Field(description="There is more output to read right now.")] = False
    omitted: Annotated[
        int, Field(description="Bytes after the cursor that are no longer there.")
    ] = 0
    matched: Annotated[bool | None, Field(description="Whether wait_for was found.")] = None


class WriteArguments(Arguments):
    process_id: ProcessId
    text: Annotated[
        Text | None, Field(max_length=MAX_STDIN_CHARS, description="Sent as it is.")
    ] = None
    keys: Annotated[
        list[Annotated[str, AfterValidator(_known_key)]] | None,
        Field(
            max_length=100,
            description=(
                "Keys pressed after the text: enter, tab, esc, up, down, left, right, ctrl-c, "
                "ctrl-d and so on."
            ),
        ),
    ] = None
    close_stdin: Annotated[bool, Field(description="End the input afterwards.")] = False
    wait_s: Annotated[float, Field(ge=0, le=60)] = 1.0
    wait_for: WaitFor = None
    max_chars: MaxChars = 20_000


class KillArguments(Arguments):
    process_id: Annotated[str | None, Field(min_length=1, max_length=32)] = None
    session: Annotated[
        SessionName | None,
        Field(description="End this session's shell and all it started; its state is lost."),
    ] = None
    signal: SignalName = "TERM"
    grace_s: Annotated[
        float, Field(ge=0, le=30, description="After this long, what still runs is killed.")
    ] = 3.0

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.process_id is None) == (self.session is None):
            raise ValueError("give either process_id or session")
        return self


class KillResult(Result):
    status: Status
    killed_pids: list[int]


class ListArguments(Arguments):
    pass


class ProcessInfo(Result):
    """One process of terminal.list. What it uses is that of all its living descendants."""

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
    processes: list[ProcessInfo]
    sessions: list[SessionInfo]


TOOLS = (
    # The transport waits for `wait_s`. The call never takes longer than the shorter of `wait_s`
    # and `timeout_s`, but for the few seconds a kill may need, which are the transport's margin.
    ToolDefinition(
        name="terminal.run",
        description=(
            "Runs a command with bash in the sandbox and returns its output and exit code. A "
            "non-zero exit code is a normal result. Each session is one shell that keeps its "
            "folder, exported variables and functions between calls; a busy session answers BUSY. "
            "The standard input is empty unless stdin is given. When the command takes longer "
            "than wait_s, it goes on and status is 'running': follow it with terminal.read, end "
            "it with terminal.kill. Long output keeps its head and tail; output_file or "
            "terminal.read with since='0' has the rest. Use background=true for servers and "
            "pty=true for interactive programs."
        ),
        arguments=RunArguments,
        result=RunResult,
        annotations=Annotations("Run a command"),
        executor="tool_plugins.terminal.executor:run",
        timeout_argument="wait_s",
    ),
    ToolDefinition(
        name="terminal.read",
        description=(
            "Returns output of a process that was not shown yet, and its status. wait_s waits for "
            "output and a pause after it; with wait_for it returns when that text appears. Ended "
            "processes can be read for an hour."
        ),
        arguments=ReadArguments,
        result=ReadResult,
        annotations=Annotations("Read output", read_only=True, destructive=False),
        executor="tool_plugins.terminal.executor:read",
        timeout_argument="wait_s",
    ),
    ToolDefinition(
        name="terminal.write",
        description=(
            "Types text or keys into a process started with background=true or pty=true, waits "
            "up to wait_s for its answer and returns it. Text is sent as it is: add '\\n' or the "
            "key 'enter' to finish a line."
        ),
        arguments=WriteArguments,
        result=ReadResult,
        annotations=Annotations("Write to a process"),
        executor="tool_plugins.terminal.executor:write",
        timeout_argument="wait_s",
    ),
    ToolDefinition(
        name="terminal.kill",
        description=(
            "Ends a process with all its descendants: the signal first, SIGKILL after grace_s. "
            "USR1, USR2, STOP and CONT are only sent. With session instead of process_id, ends "
            "the shell and everything started in it; the name can be used again at once."
        ),
        arguments=KillArguments,
        result=KillResult,
        annotations=Annotations("Kill a process", idempotent=True),
        executor="tool_plugins.terminal.executor:kill",
        timeout_argument="grace_s",
    ),
    ToolDefinition(
        name="terminal.list",
        description=(
            "Lists the processes started with terminal.run, with status, memory, CPU time and "
            "listening ports, and the shell sessions with their folders."
        ),
        arguments=ListArguments,
        result=ListResult,
        annotations=Annotations(
            "List processes", read_only=True, destructive=False, idempotent=True
        ),
        executor="tool_plugins.terminal.executor:list_processes",
    ),
)
