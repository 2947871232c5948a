"""What a worker process is: it takes a call, does it, answers, and takes the next. Linux.

A program is a module with `HANDLERS`, functions by verb. It is imported at the first call, so that
what goes wrong with it is an answer. Standard output and error lead nowhere, and standard input is
empty: nothing a library prints is ever taken for an answer.
"""

import array
import ctypes
import fcntl
import gc
import importlib
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NoReturn

from tool_plugins.errors import ErrorCode, ToolError

from .wire import (
    MAX_BODY_BYTES,
    MAX_DESCRIPTORS,
    MAX_TRACE_CHARS,
    RECEIVE_BYTES,
    Frames,
    TooLongError,
    error_fields,
    pack,
)

MIB = 1024 * 1024
MAX_EVENT_BYTES = MIB
# Memory beyond this is given back after a call, which takes some milliseconds.
RELEASE_ABOVE_BYTES = 96 * MIB
WATCHER_STACK_BYTES = 256 * 1024
# A server that is there ends a call at its deadline; this ends one the server cannot end any more.
OVERDUE_S = 10.0
# Above what a program that closes "all" descriptors, or opens its own, usually means.
LOWEST_CHANNEL_FD = 200
RIGHTS_BYTES = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
RLIMIT_LOCKS = 10
PR_SET_DUMPABLE = 4

_libc = ctypes.CDLL(None, use_errno=True)


class Call:
    """One call, as its handler sees it.

    `descriptors` are closed when the handler returns: open a file over one with `closefd=False`.
    `deadline` is a time of `time.monotonic()`; soon after it the process is killed.
    """

    def __init__(self, channel: "Channel", number: int, timeout_s: float, descriptors: list[int]):
        self.descriptors = descriptors
        self.deadline = time.monotonic() + timeout_s
        self._channel = channel
        self._number = number

    def emit(self, event: dict[str, Any]) -> None:
        """Tells the caller something meanwhile, from any thread.

        Raises:
            ValueError: it is larger than `MAX_EVENT_BYTES`.
        """
        message = pack({"id": self._number, "event": event})
        if len(message) > MAX_EVENT_BYTES:
            raise ValueError(f"an event of {len(message)} bytes")
        self._channel.send(message)


Handler = Callable[[dict[str, Any], Call], dict[str, Any]]
Handlers = Mapping[str, Handler]


class Channel:
    """The way to the server. Its end is the end of this process and its process group."""

    def __init__(self, fd: int) -> None:
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, LOWEST_CHANNEL_FD)
        os.close(fd)
        self._socket = socket.socket(fileno=high)
        self._lock = threading.Lock()
        self._frames = Frames()
        self._descriptors: list[int] = []
        self._messages: list[dict[str, Any]] = []

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        """Waits for the next message; gives it with the descriptors that came along."""
        while not self._messages:
            # Not `socket.recv_fds`: it ignores the flag, and children would inherit them all.
            data, ancillary, _, _ = self._socket.recvmsg(
                RECEIVE_BYTES, RIGHTS_BYTES, socket.MSG_CMSG_CLOEXEC
            )
            if not data:
                end_group()
            for _, _, rights in ancillary:
                self._descriptors += array.array("i", rights)
            self._messages = self._frames.feed(data)
        message = self._messages.pop(0)
        # What arrives at once, several messages and the descriptors of one, is not told apart.
        count = message.get("descriptors", 0)
        descriptors, self._descriptors = self._descriptors[:count], self._descriptors[count:]
        return message, descriptors

    def send(self, message: bytes) -> None:
        """Sends a whole message."""
        with self._lock:
            self._socket.sendall(message)

    def watch(self) -> None:
        """Ends the process group when the server is gone, even in the midst of a call."""
        poll = select.poll()
        poll.register(self._socket, select.POLLRDHUP)
        threading.stack_size(WATCHER_STACK_BYTES)
        threading.Thread(target=_end_after, args=(poll,), daemon=True).start()
        threading.stack_size(0)


def _end_after(poll: "select.poll") -> None:
    poll.poll()
    end_group()


def end_group() -> NoReturn:
    """Kills this process and those it started, but for those that left its process group."""
    os.killpg(0, signal.SIGKILL)
    os._exit(1)


class Program:
    """The handlers of a module. `name` is for messages."""

    def __init__(self, name: str, memory_mb: int | None) -> None:
        self._name = name
        self._memory_mb = memory_mb
        self._handlers: Handlers | None = None

    def answer(self, fields: dict[str, Any], call: Call) -> dict[str, Any]:
        """What to answer to a call, but for its id."""
        try:
            return {"data": self._handler(fields["verb"])(fields["args"], call)}
        except ToolError as exc:
            return {"error": error_fields(exc)}
        except MemoryError:
            return {"error": self._no_memory().as_dict(), "spent": True}
        except RecursionError:
            error = ToolError(ErrorCode.TOO_LARGE, "the input is nested too deeply")
            return {"error": error.as_dict()}
        except ModuleNotFoundError as exc:
            error = ToolError(
                ErrorCode.UNSUPPORTED, f"the library {exc.name!r} is not installed in this sandbox"
            )
            return {"error": error.as_dict(), "trace": _trace(exc)}
        except BaseException as exc:  # a library may do anything, and sys.exit() is one of it
            error = ToolError(ErrorCode.INTERNAL, f"the tool failed inside: {type(exc).__name__}")
            return {"error": error.as_dict(), "trace": _trace(exc)}

    def pack(self, answer: dict[str, Any]) -> bytes:
        """An answer as it is sent, or the reason why it cannot be."""
        try:
            return pack(answer)
        except TooLongError:
            limit = MAX_BODY_BYTES // MIB
            error = ToolError(
                ErrorCode.TOO_LARGE,
                f"the result is larger than {limit} MB",
                hint="ask for less at a time",
            )
        except MemoryError:
            error = self._no_memory()
        except (TypeError, ValueError, RecursionError) as exc:
            error = ToolError(ErrorCode.INTERNAL, f"the tool gave no JSON: {type(exc).__name__}")
        return pack({"id": answer["id"], "error": error.as_dict(), "spent": True})

    def _handler(self, verb: str) -> Handler:
        handlers = self._handlers
        if handlers is None:
            handlers = self._handlers = importlib.import_module(self._name).HANDLERS
        return handlers[verb]

    def _no_memory(self) -> ToolError:
        return ToolError(
            ErrorCode.TOO_LARGE,
            f"this takes more than the {self._memory_mb} MB of memory it may have",
            hint="try a part of it, or a smaller input",
        )


def _trace(exc: BaseException) -> str:
    return "".join(traceback.format_exception(exc))[-MAX_TRACE_CHARS:]


def confine(memory_mb: int | None, mark: int) -> None:
    """Bounds memory, leaves no core, takes the mark of its tree, and cannot be looked into.

    Agent code has the same user: without the last it could write to this process's memory.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(RLIMIT_LOCKS, (mark, mark))
    if memory_mb is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_mb * MIB, memory_mb * MIB))
    _libc.prctl(PR_SET_DUMPABLE, *(ctypes.c_ulong(0) for _ in range(4)))


def release_memory() -> None:
    """Gives memory back that a call took and no longer needs, if it is much."""
    with open("/proc/self/statm", "rb") as statm:
        pages = int(statm.read().split()[1])
    if pages * resource.getpagesize() > RELEASE_ABOVE_BYTES:
        gc.collect()
        _libc.malloc_trim(0)


def main(fd: int) -> NoReturn:
    """Serves the server on the other end of `fd` until it is gone."""
    channel = Channel(fd)
    setup = channel.receive()[0]["setup"]
    confine(setup["memory_mb"], setup["mark"])
    sys.path += [path for path in setup["path"] if path not in sys.path]
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    channel.watch()
    program = Program(setup["program"], setup["memory_mb"])
    while True:
        _serve(channel, program)
        release_memory()


def _serve(channel: Channel, program: Program) -> None:
    # A function of its own: nothing of a call outlives it.
    fields, descriptors = channel.receive()
    call = Call(channel, fields["id"], fields["timeout_s"], descriptors)
    signal.setitimer(signal.ITIMER_REAL, fields["timeout_s"] + OVERDUE_S)
    answer = {"id": fields["id"], **program.answer(fields, call)}
    signal.setitimer(signal.ITIMER_REAL, 0)
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)
    channel.send(program.pack(answer))
    if answer.get("spent"):
        end_group()
