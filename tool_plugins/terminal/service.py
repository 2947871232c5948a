"""Everything the terminal tools share inside one sandbox: the sessions and the processes."""

import asyncio
import contextlib
import itertools
import secrets
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from tool_plugins.context import Host
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.processes import Trees

from .counters import Counters
from .output import Spool
from .process import Process
from .program import TERMINAL_TYPE, Program
from .scratch import Scratch
from .session import Command, Session, framed

MAX_SESSIONS = 32
MAX_LIVE = 128
MAX_FINISHED = 100
KEEP_FINISHED_S = 3600.0


class Terminal:
    """The sessions by name and the processes by id."""

    def __init__(self, host: Host) -> None:
        self.counters = Counters()
        self._host = host
        self._spool = Spool(host.spool)
        self._scratch = Scratch(host)
        self._sessions: dict[str, Session] = {}
        self._processes: dict[str, Process] = {}
        # Those that live and some that do not any more.
        self._live: set[Process] = set()
        self._count = 0
        self._trees = host.service(Trees)
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def processes(self) -> list[Process]:
        """All that are remembered, oldest first."""
        return list(self._processes.values())

    @property
    def sessions(self) -> list[Session]:
        """All sessions that were used."""
        return list(self._sessions.values())

    def process(self, process_id: str) -> Process:
        """The process of an id.

        Raises:
            ToolError: there is none, or no longer (PROCESS_NOT_FOUND).
        """
        self._forget_old()
        try:
            return self._processes[process_id]
        except KeyError:
            raise ToolError(
                ErrorCode.PROCESS_NOT_FOUND,
                f"no process {process_id!r}",
                hint="terminal_list shows the processes; ended ones are kept for an hour",
            ) from None

    def run_command(
        self,
        command: str,
        session_name: str,
        *,
        cwd: Path | None,
        env: Mapping[str, str],
        stdin: str | None,
    ) -> Command:
        """Starts a command in a session.

        Raises:
            ToolError: the session runs another one (BUSY), or there is no room for one more.
        """
        session = self._session(session_name)
        if session.current is not None:
            raise _busy(session)
        process = Command(session, session.tree.next_mark(), **self._fields(command))
        with self._undone(process):
            session.run(process, cwd=cwd, env=env, stdin=stdin)
        return process

    async def start_program(
        self,
        command: str,
        session_name: str,
        *,
        pty: bool,
        cwd: Path | None,
        env: Mapping[str, str],
    ) -> Program:
        """Starts a command beside a session, with the session's state as it was last saved."""
        session = self._sessions.get(session_name)
        snapshot = await session.settled_snapshot() if session else None
        tree = self._trees.new()
        fields = self._fields(command)
        process = Program(tree, pty=pty, session=session_name, **fields)
        restore = f"builtin ulimit -HSx {tree.next_mark()};"
        if snapshot is not None:
            restore += f". {snapshot} 2>/dev/null;"
        if pty:
            restore += f"export TERM={TERMINAL_TYPE};"
        name = f"{process.id}-{secrets.token_hex(4)}.sh"
        with self._undone(process):
            script = self._scratch.write(name, restore + framed(command, cwd, env))
            folder = cwd or Path(session.cwd if session else self._host.workspace)
            process.start(self._host, script, self._host.environment, folder)
        return process

    async def end_session(self, name: str, *, grace_signal: int | None, grace_s: float) -> set[int]:
        """Ends a session's shell and all that was ever started in it.

        Raises:
            ToolError: there is no such session (NOT_FOUND).
        """
        session = self._sessions.pop(name, None)
        if session is None:
            raise ToolError(
                ErrorCode.NOT_FOUND, f"no session {name!r}", hint="terminal_list shows the sessions"
            )
        return await session.close(grace_signal, grace_s)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Runs something that must finish even when its caller is gone; `aclose` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        """Ends every process and forgets everything."""
        programs = [p for p in self._processes.values() if isinstance(p, Program)]
        async with asyncio.TaskGroup() as group:
            for program in programs:
                group.create_task(program.end("killed"))
            for session in self._sessions.values():
                group.create_task(session.close())
        if self._tasks:
            await asyncio.wait(self._tasks)
        for process in self._processes.values():
            process.forget()
        self._sessions.clear()
        self._processes.clear()
        self.counters.close()

    def _session(self, name: str) -> Session:
        session = self._sessions.get(name)
        if session is None:
            if len(self._sessions) >= MAX_SESSIONS:
                raise ToolError(
                    ErrorCode.QUOTA_EXCEEDED,
                    f"there are {MAX_SESSIONS} sessions already",
                    hint="end one with terminal_kill(session=...)",
                )
            session = Session(name, self._host, self._trees.new(), self._scratch)
            self._sessions[name] = session
        return session

    def _fields(self, command: str) -> dict[str, Any]:
        self._forget_old()
        if len(self._live) >= MAX_LIVE:
            self._live = {process for process in self._live if process.live}
        if len(self._live) >= MAX_LIVE:
            raise ToolError(
                ErrorCode.QUOTA_EXCEEDED,
                f"{MAX_LIVE} processes run already",
                hint="end some with terminal_kill",
            )
        self._count += 1
        return {
            "id": f"p{self._count}",
            "command": command,
            "spool": self._spool,
            "counters": self.counters,
        }

    @contextlib.contextmanager
    def _undone(self, process: Process):
        """Remembers a process, unless its start fails."""
        try:
            yield
        except BaseException:
            process.forget()
            raise
        self._processes[process.id] = process
        self._live.add(process)

    def _forget_old(self) -> None:
        """Drops what ended long ago, but not what still writes: that would break its pipe."""
        over = len(self._processes) - MAX_FINISHED
        oldest = time.monotonic() - KEEP_FINISHED_S
        for process in list(itertools.islice(self._processes.values(), MAX_LIVE)):
            if over <= 0 and (process.ended or oldest) >= oldest:
                return
            if not process.live:
                process.forget()
                del self._processes[process.id]
                over -= 1


def _busy(session: Session) -> ToolError:
    current = session.current
    assert current is not None
    return ToolError(
        ErrorCode.BUSY,
        f"session {session.name!r} runs process {current.id!r}",
        hint=(
            "wait for it with terminal_read, end it with terminal_kill, "
            "or use another session name to work in parallel"
        ),
        details={
            "process_id": current.id,
            "command": current.command[:500],
            "since": current.started_at.isoformat(),
        },
    )
