"""A named shell session: its shell, what runs in it, and what is kept when the shell is lost."""

import asyncio
import contextlib
import os
import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tool_plugins.context import Host
from tool_plugins.processes import Tree, kill_all, send_signal

from .process import Process, end_members, exit_code_of
from .scratch import Scratch
from .shell import Answer, Shell

# A shell that does not answer by then, after everything it started was killed, is replaced.
ANSWER_S = 1.0
RETRY_S = 0.05


class Command(Process):
    """A command in the shell of a session."""

    def __init__(self, shell_session: "Session", mark: int, **fields: Any) -> None:
        super().__init__(session=shell_session.name, **fields)
        self._session = shell_session
        self.mark = mark
        self.nonce = secrets.token_hex(8)
        self._files: list[str] = []

    def members(self) -> set[int]:
        """What this command started; while it runs, what came later cannot be."""
        return self._session.members_of(self)

    async def _end(self, grace_signal: int | None, grace_s: float) -> set[int]:
        return await self._session.stop(self, grace_signal, grace_s)

    def finish(self, exit_code: int | None, cwd: str, *, shell_restarted: bool = False) -> None:
        """Notes the end the shell told of."""
        self.cwd = cwd
        self.shell_restarted = shell_restarted
        self._remove_files()
        self._finish(exit_code)

    def own(self, path: str) -> str:
        """Takes a file that is to go when the command ends; gives its path back."""
        self._files.append(path)
        return path

    def forget(self) -> None:
        self._remove_files()
        super().forget()

    def _remove_files(self) -> None:
        while self._files:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._files.pop())


class Session:
    """One shell at a time, and at most one command in it."""

    def __init__(self, name: str, host: Host, tree: Tree, scratch: Scratch) -> None:
        self.name = name
        self.cwd = str(host.workspace)
        self.current: Command | None = None
        self.tree = tree
        self._host = host
        self._scratch = scratch
        # Short, because bash reads the line that holds it byte by byte.
        self._stem = secrets.token_hex(3)
        self._saves = 0
        self._saved: Path | None = None
        self._shell: Shell | None = None
        # Clear from the end of a command until the shell has saved its state.
        self._settled = asyncio.Event()
        self._settled.set()

    async def settled_snapshot(self) -> Path | None:
        """The file that brings back the state after the last command; None before the first."""
        await answered(self._settled, ANSWER_S)
        return self._saved

    def run(
        self,
        command: Command,
        *,
        cwd: Path | None,
        env: Mapping[str, str],
        stdin: str | None,
    ) -> None:
        """Starts a command. The caller made sure that none runs."""
        if self._shell is None:
            self._shell = Shell(
                self._host, self.tree, self._saved, on_answer=self._answered, on_exit=self._lost
            )
        stem, source = f"{self._stem}-{command.id}", "/dev/null"
        script = command.own(self._scratch.write(f"{stem}.sh", framed(command.command, cwd, env)))
        if stdin is not None:
            source = command.own(self._scratch.write(f"{stem}.in", stdin))
        out, stdout = self._scratch.fifo(f"{stem}.out")
        command.own(out)
        try:
            err, stderr = self._scratch.fifo(f"{stem}.err")
        except BaseException:
            os.close(stdout)
            raise
        command.own(err)
        command.attach(stdout, stderr)
        command.cwd = self.cwd
        self.current = command
        self._saves += 1
        save = self._state_file(self._saves % 2)
        self._shell.send(
            f"builtin ulimit -HSx {command.mark};"
            f". {script} 198>&- <{source} >{out} 2>{err};"
            f"__sandbox_rc=$?;{unframed(cwd, env)}"
            f'__sandbox_done {command.nonce} "$__sandbox_rc" {save}\n'
        )

    def members_of(self, command: Command) -> set[int]:
        """What came of a command: of its mark or later, or of exactly its mark when it is over."""
        shell = self._shell.pid if self._shell else None
        if command is self.current:
            return self.tree.members_since(command.mark, shell)
        return self.tree.members_of(command.mark, shell)

    async def stop(self, command: Command, grace_signal: int | None, grace_s: float) -> set[int]:
        """Ends a command and what came of it, and keeps the shell if it answers."""
        if self.current is command and self._shell is not None:
            self._shell.interrupt()
        ended = await end_members(command.members, grace_signal, grace_s)
        waited = 0.0
        while self.current is command and self._shell is not None:
            if await answered(command.finished, RETRY_S):
                break
            waited += RETRY_S
            if waited >= ANSWER_S:
                self._shell.kill()
                await answered(command.finished, ANSWER_S)
                break
            self._shell.interrupt()
            ended |= await kill_all(command.members)
        # What the shell still started while it gave up.
        return ended | await kill_all(command.members)

    async def close(self, grace_signal: int | None = None, grace_s: float = 0) -> set[int]:
        """Ends the shell and everything ever started in it. The next command begins afresh."""
        shell, self._saved = self._shell, None
        if self.current is not None:
            self.current.ending("killed")
        if shell is not None and grace_signal is not None:
            send_signal(self.tree.members(shell.pid), grace_signal)
        ended = await end_members(self.tree.members, grace_signal, grace_s)
        if shell is not None:
            await shell.exited.wait()
        self.cwd = str(self._host.workspace)
        for number in (0, 1):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._state_file(number))
        return ended

    def _state_file(self, number: int) -> str:
        # Two in turns: while one is written, the other is whole.
        return f"{self._scratch.folder}/{self._stem}.state{number}"

    def _answered(self, answer: Answer) -> None:
        command = self.current
        if answer.saved is not None:
            self._saved = Path(answer.saved)
            self._settled.set()
        elif command is not None and answer.nonce == command.nonce:
            self.current = None
            self.cwd = answer.cwd
            self._settled.clear()
            command.finish(answer.exit_code, answer.cwd)

    def _lost(self, returncode: int) -> None:
        """The shell ended: `exit`, `exec`, a signal, or killed by us."""
        self._shell = None
        self._settled.set()
        command, self.current = self.current, None
        if command is not None:
            command.finish(exit_code_of(returncode), self.cwd, shell_restarted=True)


async def answered(event: asyncio.Event, seconds: float) -> bool:
    """Waits for what the shell is to tell; gives whether it did."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


def framed(command: str, cwd: Path | None, env: Mapping[str, str]) -> str:
    """The command with a folder and an environment that hold for it only.

    The frame shares the command's first line, so that line numbers in messages are right.
    """
    frame = ""
    if env:
        saves = (f'[[ -v {name} ]] && __sandbox_env+=("${{{name}@A}};");' for name in env)
        frame += "__sandbox_env=();" + "".join(saves)
        frame += "".join(f"export {name}={shlex.quote(value)};" for name, value in env.items())
    if cwd is not None:
        frame += f"__sandbox_cwd=$PWD;builtin cd -- {shlex.quote(str(cwd))} || return;"
    return frame + command


def unframed(cwd: Path | None, env: Mapping[str, str]) -> str:
    """What undoes the frame in the shell, once the command is over."""
    undo = ""
    if cwd is not None:
        undo += 'builtin cd -- "$__sandbox_cwd";unset __sandbox_cwd;'
    if env:
        undo += f'unset {" ".join(env)};eval "${{__sandbox_env[*]-}}";unset __sandbox_env;'
    return undo
