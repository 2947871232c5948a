"""What a caller says to each terminal tool. Host side: pydantic, never the executors."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from tool_plugins.contract import Arguments

from .keys import KEYS

MAX_COMMAND_CHARS = 100_000
MAX_STDIN_CHARS = 1_000_000
MAX_ENV_CHARS = 100_000
# Variables bash does not let anyone set.
READONLY_NAMES = frozenset(
    {"BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID", "BASHPID", "_"}
)

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
ProcessId = Annotated[str, Field(min_length=1, max_length=32, description="From terminal_run.")]
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
MaxChars = Annotated[
    int,
    Field(ge=100, le=100_000, description="Characters of each stream at most; read on for more."),
]


class RunArguments(Arguments):
    """A command, where it runs and how long."""

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
                "'running', and terminal_read with the process_id gives the rest."
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
                "with background or pty it stays open for terminal_write."
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


class ReadArguments(Arguments):
    """Whose output to read, from where, and how long to wait for it."""

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


class WriteArguments(Arguments):
    """What to type, and how long to wait for the answer."""

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
    wait_s: Annotated[float, Field(ge=0, le=60, description="How long to wait for the answer.")] = (
        1.0
    )
    wait_for: WaitFor = None
    max_chars: MaxChars = 20_000


class KillArguments(Arguments):
    """A process or a session to end."""

    process_id: Annotated[
        str | None,
        Field(min_length=1, max_length=32, description="End this process; from terminal_run."),
    ] = None
    session: Annotated[
        SessionName | None,
        Field(description="End this session's shell and all it started; its state is lost."),
    ] = None
    signal: Annotated[SignalName, Field(description="The signal to send first.")] = "TERM"
    grace_s: Annotated[
        float, Field(ge=0, le=30, description="After this long, what still runs is killed.")
    ] = 3.0

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.process_id is None) == (self.session is None):
            raise ValueError("give either process_id or session")
        return self


class ListArguments(Arguments):
    """Nothing to say."""
