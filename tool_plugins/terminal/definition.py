"""The terminal tools as a caller sees them. Host side: pydantic, never the executors."""

from tool_plugins.contract import Annotations, ToolDefinition

from .arguments import KillArguments, ListArguments, ReadArguments, RunArguments, WriteArguments
from .results import KillResult, ListResult, ReadResult, RunResult

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
            "than wait_s, it goes on and status is 'running': follow it with terminal_read, end "
            "it with terminal_kill. Long output keeps its head and tail; output_file or "
            "terminal_read with since='0' has the rest. Use background=true for servers and "
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
            "Lists what runs of all that was started with terminal_run, and the ten that ended "
            "last, with status, memory, CPU time and listening ports; and the shell sessions with "
            "their folders."
        ),
        arguments=ListArguments,
        result=ListResult,
        annotations=Annotations(
            "List processes", read_only=True, destructive=False, idempotent=True
        ),
        executor="tool_plugins.terminal.executor:list_processes",
    ),
)
