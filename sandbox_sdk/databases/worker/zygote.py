"""The process workers are forked from, so that a sandbox has one within milliseconds.

It has loaded the drivers, has one thread, never had a credential, and does nothing else. It ends
when the host's end of its socket closes; then so do all workers, by signal and by their own.
"""

import gc
import os
import select
import signal
import socket
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from typing import Any

from .process import confine, die_with_parent, thread_count
from .protocol import receive_packet, send_packet
from .serve import work


class Zygote:
    """Obeys the host: preload, fork, kill."""

    def __init__(self, host: socket.socket) -> None:
        self._host = host
        self._children: set[int] = set()
        self._waking, self._wakes = socket.socketpair()

    def run(self) -> None:
        """Serves until the host is gone."""
        self._wakes.setblocking(False)
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, stack: None)
        poll = select.poll()
        poll.register(self._host, select.POLLIN)
        poll.register(self._waking, select.POLLIN)
        watched = _watch_parent(poll)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == watched:
                    return
                if descriptor == self._waking.fileno():
                    self._waking.recv(4096)
                    self._reap()
                    continue
                packet = receive_packet(self._host)
                if packet is None:
                    return
                self._obey(*packet)

    def _obey(self, fields: dict[str, Any], descriptors: list[int]) -> None:
        match fields:
            case {"preload": modules}:
                loaded = _preload(modules)
                send_packet(self._host, {"preloaded": loaded, "threads": thread_count()})
            case {"fork": name}:
                forked = self._fork(name, socket.socket(fileno=descriptors[0]))
                send_packet(self._host, forked)
            case {"kill": pid} if pid in self._children:
                # A child that was not waited for keeps its number.
                os.kill(pid, signal.SIGKILL)

    def _fork(self, name: str, control: socket.socket) -> dict[str, Any]:
        parent = os.getpid()
        with control:
            try:
                pid = os.fork()
            except OSError as exc:
                return {"forked": None, "error": str(exc)}
            if pid == 0:
                self._be_worker(name, parent, control)
        self._children.add(pid)
        return {"forked": pid}

    def _be_worker(self, name: str, parent: int, control: socket.socket) -> None:
        """Never returns."""
        try:
            die_with_parent(parent)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for each in (self._host, self._waking, self._wakes):
                each.close()
            confine(name)
            work(control)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                self._children.discard(found[0])
                status = os.waitstatus_to_exitcode(found[1])
                send_packet(self._host, {"ended": found[0], "status": status})


def _watch_parent(poll: select.poll) -> int | None:
    """Also ends when the host is gone while a child of its holds the socket open."""
    with suppress(OSError):
        descriptor = os.pidfd_open(os.getppid())
        poll.register(descriptor, select.POLLIN)
        return descriptor
    return None


def _preload(modules: list[str]) -> dict[str, str]:
    """What came of each module: "" or why it could not be loaded."""
    outcome: dict[str, str] = {}
    for name in modules:
        try:
            import_module(name)
            outcome[name] = ""
        except Exception as exc:
            outcome[name] = f"{type(exc).__name__}: {exc}"
    # What is loaded by now is shared by all workers, as long as nobody writes to it.
    gc.collect()
    gc.freeze()
    return outcome


def main() -> None:
    """The program: the number of its socket is the argument."""
    host = socket.socket(fileno=int(sys.argv[1]))
    with suppress(BrokenPipeError, ConnectionResetError):
        Zygote(host).run()
