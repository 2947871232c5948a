"""What the terminal tools do. Runs in the container; arguments are validated on the host."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

from tool_plugins.context import ToolContext
from tool_plugins.errors import ErrorCode, ToolError

from .keys import PIPE_KEYS, SIGNAL_KEYS, terminal_bytes
from .process import ESCALATING, Process
from .reading import read_process
from .service import Terminal
from .status import list_all

# How long after its deadline a command may take to be killed.
KILL_MARGIN_S = 15.0


async def run(
    context: ToolContext,
    *,
    command: str,
    session: str = "main",
    timeout_s: float = 60.0,
    wait_s: float = 45.0,
    cwd: str | None = None,
    env: dict[str, str] | None = None,
    stdin: str | None = None,
    background: bool = False,
    pty: bool = False,
    on_timeout: str = "kill",
) -> dict[str, Any]:
    """Runs a command, in the shell of its session or beside it."""
    terminal = context.host.service(Terminal)
    folder = _folder(context, cwd)
    process: Process
    if background or pty:
        process = await terminal.start_program(command, session, pty=pty, cwd=folder, env=env or {})
        if stdin is not None:
            # Written while we go on: what it does not read now must not hold the answer up.
            terminal.start(_feed(process, stdin))
    else:
        process = terminal.run_command(command, session, cwd=folder, env=env or {}, stdin=stdin)
    if background:
        return _report(process)
    if on_timeout == "kill":
        process.expire_after(timeout_s, lambda: terminal.start(process.end("timed_out")))
    kills = on_timeout == "kill" and timeout_s <= wait_s
    await _watch(
        context, terminal, process, timeout_s + KILL_MARGIN_S if kills else min(wait_s, timeout_s)
    )
    return _report(process)


async def _watch(
    context: ToolContext, terminal: Terminal, process: Process, seconds: float
) -> None:
    """Waits for the end, with live output. A caller that goes away ends the process."""
    if context.live:
        process.follow(
            lambda text: context.emit({"event": "stdout", "text": text}),
            lambda text: context.emit({"event": "stderr", "text": text}),
        )
    try:
        await process.wait_finished(seconds)
    except asyncio.CancelledError:
        await asyncio.shield(terminal.start(process.end("killed")))
        raise
    finally:
        process.follow(None, None)


async def _feed(process: Process, text: str) -> None:
    """Gives a program its input. One that ends or closes it before has had enough."""
    try:
        await process.write(text.encode("utf-8", "surrogateescape"))
    except ToolError:
        return


def _report(process: Process) -> dict[str, Any]:
    stdout, stderr = process.stdout.excerpt(), process.stderr.excerpt()
    process.seen = (process.stdout.total, process.stderr.total)
    file = process.stdout.file or process.stderr.file
    return {
        **process.state(),
        "cause": process.cause,
        "stdout": stdout.text,
        "stderr": stderr.text,
        "truncated": bool(stdout.omitted or stderr.omitted),
        "omitted": stdout.omitted + stderr.omitted,
        "stdout_bytes": process.stdout.total,
        "stderr_bytes": process.stderr.total,
        "output_file": str(file) if file else None,
        "cwd": process.cwd,
        "duration_s": process.duration_s,
        "shell_restarted": process.shell_restarted,
    }


async def read(
    context: ToolContext,
    *,
    process_id: str,
    since: str | None = None,
    wait_s: float = 0.0,
    wait_for: str | None = None,
    max_chars: int = 20_000,
) -> dict[str, Any]:
    """Reads on in the output of a process."""
    process = context.host.service(Terminal).process(process_id)
    return await read_process(
        process, since=since, wait_s=wait_s, wait_for=wait_for, max_chars=max_chars
    )


async def write(
    context: ToolContext,
    *,
    process_id: str,
    text: str | None = None,
    keys: list[str] | None = None,
    close_stdin: bool = False,
    wait_s: float = 1.0,
    wait_for: str | None = None,
    max_chars: int = 20_000,
) -> dict[str, Any]:
    """Writes to a process and reads what it answers."""
    process = context.host.service(Terminal).process(process_id)
    if process.finished.is_set():
        raise ToolError(ErrorCode.UNSUPPORTED, f"process {process_id!r} has ended")
    if text:
        await process.write(text.encode("utf-8", "surrogateescape"))
    await _press(process, keys or [])
    if close_stdin:
        process.close_stdin()
    return await read_process(
        process, since=None, wait_s=wait_s, wait_for=wait_for, max_chars=max_chars
    )


async def _press(process: Process, keys: list[str]) -> None:
    if process.terminal:
        if keys:
            await process.write(terminal_bytes(keys))
        return
    for key in keys:
        if key in SIGNAL_KEYS:
            process.signal(int(signal.Signals[f"SIG{SIGNAL_KEYS[key]}"]))
        elif key == "ctrl-d":
            process.close_stdin()
        elif key in PIPE_KEYS:
            await process.write(PIPE_KEYS[key])
        else:
            raise ToolError(
                ErrorCode.UNSUPPORTED,
                f"process {process.id!r} has no terminal, so key {key!r} means nothing to it",
                hint="start the command with pty=true",
            )


async def kill(
    context: ToolContext,
    *,
    process_id: str | None = None,
    session: str | None = None,
    signal: str = "TERM",
    grace_s: float = 3.0,
) -> dict[str, Any]:
    """Ends a process or a session, or sends a process a signal."""
    terminal = context.host.service(Terminal)
    number = _signal_number(signal)
    if session is not None:
        killed = await _shielded(
            terminal, terminal.end_session(session, grace_signal=number, grace_s=grace_s)
        )
        return {"status": "killed", "killed_pids": sorted(killed)}
    process = terminal.process(process_id or "")
    if signal in ESCALATING:
        killed = await _shielded(
            terminal, process.end("killed", grace_signal=number, grace_s=grace_s)
        )
    else:
        killed = set()
        process.signal(number)
    return {"status": process.status, "killed_pids": sorted(killed)}


async def list_processes(context: ToolContext) -> dict[str, Any]:
    """Lists the processes and the sessions."""
    return list_all(context.host.service(Terminal))


async def _shielded(terminal: Terminal, work: Any) -> set[int]:
    # A kill that has begun is finished, also when nobody waits for it any more.
    return await asyncio.shield(terminal.start(work))


def _signal_number(name: str) -> int:
    return int(signal.Signals[f"SIG{name}"])


def _folder(context: ToolContext, cwd: str | None) -> Path | None:
    if cwd is None:
        return None
    path = Path(os.path.normpath(context.host.workspace / cwd))
    if not path.is_dir():
        raise ToolError(
            ErrorCode.NOT_FOUND,
            f"no folder {cwd!r}",
            hint="cwd is relative to the workspace, or absolute",
        )
    return path


EXECUTORS = {"run": run, "read": read, "write": write, "kill": kill, "list": list_processes}
