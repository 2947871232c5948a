"""The bash of a session, and the private descriptor on which it answers.

A command never sees that descriptor, so nothing it prints can be taken for an answer. The shell is
sent one line per command and answers twice: when the command is over, and when its own state is
saved, so that saving costs the caller nothing.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tool_plugins.context import Host
from tool_plugins.processes import Tree, spawn

BASH = ("/bin/bash", "--noprofile", "--norc")
CONTROL_FD = 198
# Tells the shell to give up what it does. A real-time signal no program expects.
STOP_SIGNAL = signal.SIGRTMIN + 9
READ_BYTES = 65536

# On the stop signal the shell returns from the running script. The DEBUG trap makes it return from
# every function above that too, before any of them runs its next command.
# The last line of the state fails to be written if one before it did.
# Errexit ends with its command: it would otherwise end the shell at the next failure.
PRELUDE = r"""
__sandbox_done() {
  trap - DEBUG; shopt -u extdebug; set +eT
  builtin printf '%s\n%d\n%s\0' "$1" "$2" "$PWD" >&198
  {
    builtin printf 'builtin cd -- %q\n' "$PWD"
    export -p; shopt -p; alias -p; declare -f
    builtin printf '#\n'
  } >|"$3" 2>/dev/null && builtin printf '%s\0' "$3" >&198
}
__sandbox_trap='shopt -s extdebug; trap "
  [[ \${#BASH_SOURCE[@]} -eq 0 || \${FUNCNAME-} == __sandbox_done ]] || test 1 2 3 2>/dev/null
  " DEBUG; return 143'
readonly -f __sandbox_done
trap "$__sandbox_trap" RTMIN+9
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the shell: a command is over, or the state is in the file `saved`."""

    nonce: str = ""
    exit_code: int = 0
    cwd: str = ""
    saved: str | None = None


class Shell:
    """One bash process. Born with the state of a snapshot, if there is one."""

    def __init__(
        self,
        host: Host,
        tree: Tree,
        snapshot: Path | None,
        *,
        on_answer: Callable[[Answer], None],
        on_exit: Callable[[int], None],
    ) -> None:
        self._on_answer = on_answer
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self._received = b""
        stdin, self._stdin = os.pipe()
        self._control, control = os.pipe()
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._child = spawn(
                BASH,
                tree=tree,
                environment=host.environment,
                folder=host.workspace,
                stdio=(stdin, null, null),
                keep=(control,),
                on_exit=self._exited,
            )
        except BaseException:
            os.close(self._stdin)
            os.close(self._control)
            raise
        finally:
            for fd in (stdin, control, null):
                os.close(fd)
        os.set_blocking(self._control, False)
        self._loop.add_reader(self._control, self._readable)
        restore = f". {snapshot} 2>/dev/null;" if snapshot else ""
        self.send(f"exec {CONTROL_FD}>&{control} {control}>&-;{restore}\n{PRELUDE}")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def exited(self) -> asyncio.Event:
        """Set once it has ended."""
        return self._child.exited

    def send(self, line: str) -> None:
        """Gives it something to do."""
        os.write(self._stdin, line.encode())

    def interrupt(self) -> None:
        """Has it give up the running command, as soon as it runs again."""
        self._child.signal(STOP_SIGNAL)
        self._child.signal(signal.SIGCONT)

    def kill(self) -> None:
        """Ends it. `on_exit` follows."""
        self._child.signal(signal.SIGKILL)

    def _readable(self) -> None:
        try:
            data = os.read(self._control, READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            # Closed by the command; the exit of the shell is told by its pidfd.
            self._loop.remove_reader(self._control)
            return
        *answers, self._received = (self._received + data).split(b"\0")
        for answer in answers:
            self._answer(os.fsdecode(answer).split("\n", 2))

    def _answer(self, fields: list[str]) -> None:
        if len(fields) == 1:
            self._on_answer(Answer(saved=fields[0]))
        elif len(fields) == 3 and fields[1].isdigit():
            self._on_answer(Answer(fields[0], int(fields[1]), fields[2]))

    def _exited(self) -> None:
        self._readable()
        self._loop.remove_reader(self._control)
        os.close(self._control)
        os.close(self._stdin)
        self._on_exit(self._child.returncode or 0)
