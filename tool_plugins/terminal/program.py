"""A command in a process of its own: in the background, or under a terminal."""

import asyncio
import contextlib
import fcntl
import os
import struct
import termios
from pathlib import Path
from typing import Any

from tool_plugins.context import Host
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.processes import Tree, spawn

from .process import Process, end_members, exit_code_of
from .shell import BASH

ROWS, COLUMNS = 40, 120
WRITE_TIMEOUT_S = 10.0
TERMINAL_TYPE = "xterm-256color"
# The first terminal a session leader opens becomes its controlling terminal.
OWN_TERMINAL = "exec 9<>/proc/self/fd/0 9>&-;"
END_OF_INPUT = b"\x04"


class Program(Process):
    """A bash of its own that runs one command, with the state of a session as it was."""

    def __init__(self, tree: Tree, *, pty: bool, **fields: Any) -> None:
        super().__init__(**fields)
        self._tree = tree
        self._pty = pty
        self._stdin = -1
        self._lock = asyncio.Lock()
        self._script = ""

    @property
    def terminal(self) -> bool:
        return self._pty

    def start(self, host: Host, script: str, environment: dict[str, str], folder: Path) -> None:
        """Starts `script`, which is removed when it has ended."""
        self._script = script
        self.cwd = str(folder)
        arguments = [*BASH, "-c", (OWN_TERMINAL if self._pty else "") + f". {script}"]
        ours, theirs = _terminal(host) if self._pty else _pipes()
        try:
            self._child = spawn(
                arguments,
                tree=self._tree,
                environment=environment,
                folder=host.workspace,
                stdio=theirs,
                on_exit=self._exited,
            )
        except BaseException:
            _close({*ours})
            raise
        finally:
            _close({*theirs})
        self._stdin, stdout, stderr = ours
        os.set_blocking(self._stdin, False)
        self.attach(stdout, None if self._pty else stderr)

    def members(self) -> set[int]:
        return self._tree.members()

    async def write(self, data: bytes) -> None:
        if self._stdin < 0:
            raise ToolError(
                ErrorCode.UNSUPPORTED, f"the standard input of process {self.id!r} is closed"
            )
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S), self._lock:
                await self._write(data)
        except TimeoutError:
            raise ToolError(
                ErrorCode.TIMEOUT,
                f"process {self.id!r} does not read its standard input",
                hint="a part of the text may have been taken",
            ) from None
        except OSError as exc:
            raise ToolError(
                ErrorCode.UNSUPPORTED, f"process {self.id!r} has closed its standard input"
            ) from exc

    async def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left and self._stdin >= 0:
            try:
                left = left[os.write(self._stdin, left) :]
            except BlockingIOError:
                await _writable(self._stdin)

    def close_stdin(self) -> None:
        if self._stdin < 0:
            return
        if self._pty and not self.finished.is_set():
            with contextlib.suppress(OSError):
                os.write(self._stdin, END_OF_INPUT)
            return
        os.close(self._stdin)
        self._stdin = -1

    async def _end(self, grace_signal: int | None, grace_s: float) -> set[int]:
        ended = await end_members(self.members, grace_signal, grace_s)
        await self._child.exited.wait()
        return ended

    def _exited(self) -> None:
        self._remove_script()
        self._finish(exit_code_of(self._child.returncode or 0))

    def forget(self) -> None:
        self._remove_script()
        super().forget()

    def _remove_script(self) -> None:
        if self._script:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._script)
            self._script = ""


def _pipes() -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    their_in, our_in = os.pipe()
    our_out, their_out = os.pipe()
    our_err, their_err = os.pipe()
    return (our_in, our_out, our_err), (their_in, their_out, their_err)


def _terminal(host: Host) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    user = host.identity
    if user is not None and os.fstat(theirs).st_uid != user.uid:
        os.fchown(theirs, user.uid, user.gid)
    writing = os.dup(ours)
    return (writing, ours, ours), (theirs, theirs, theirs)


def _close(fds: set[int]) -> None:
    for fd in fds:
        os.close(fd)


async def _writable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(fd, lambda: ready.done() or ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_writer(fd)
