"""What a worker process is: it takes a call, does it, answers, and takes the next. Linux.

A program is a module with `HANDLERS`, functions by verb. It is imported at the first call, so that
what goes wrong with it is an answer. Standard output and error lead nowhere, or into a pipe of its
own (`printing.py`), and standard input is empty: nothing a library prints is taken for an answer.
"""

import ctypes
import gc
import importlib
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NoReturn

from tool_plugins.errors import ErrorCode, ToolError

from .channel import Channel, end_group
from .printing import Printing
from .wire import (
    MAX_BODY_BYTES,
    MAX_EVENT_BYTES,
    MAX_TRACE_CHARS,
    TooLongError,
    error_fields,
    excess,
    pack,
    parse_error,
)

MIB = 1024 * 1024
# Memory beyond this is given back after a call, which takes some milliseconds.
RELEASE_ABOVE_BYTES = 96 * MIB
# A server that is there ends a call at its deadline; this ends one the server cannot end any more.
OVERDUE_S = 10.0
RLIMIT_LOCKS = 10
PR_SET_DUMPABLE = 4

_libc = ctypes.CDLL(None, use_errno=True)


class Call:
    """One call, as its handler sees it.

    `descriptors` are closed when the handler returns: open a file over one with `closefd=False`.
    `deadline` is a time of `time.monotonic()`; soon after it the process is killed. A handler that
    sets `spent` gets its answer through, but the process does no other call.
    """

    def __init__(self, channel: Channel, number: int, timeout_s: float, descriptors: list[int]):
        self.descriptors = descriptors
        self.deadline = time.monotonic() + timeout_s
        self.spent = False
        self._channel = channel
        self._number = number
        self._lock = threading.Lock()
        self._over = False
        self._asked = False

    def emit(self, event: dict[str, Any]) -> None:
        """Tells the caller something meanwhile, from any thread. After the call it is lost.

        Raises:
            ValueError: it is larger than `MAX_EVENT_BYTES`.
        """
        self._send({"event": event})

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Asks the caller for something and waits for the answer, from any thread.

        Up to `MAX_ASKS` may be under way; further ones wait until there is room.

        Raises:
            ToolError: the answer is a refusal.
            ValueError: the request is larger than `MAX_EVENT_BYTES`.
            RuntimeError: the call is over, so nobody answers.
        """
        self._asked = True
        with self._channel.asking:
            number = self._channel.open_ask()
            try:
                if not self._send({"ask": number, "request": request}):
                    raise RuntimeError("the call is over")
                answer = self._channel.answer(number, lambda: self._over)
            finally:
                self._channel.close_ask(number)
        if not answer:
            raise RuntimeError("the call is over")
        if "error" in answer:
            raise parse_error(answer["error"])
        return answer["data"]

    def finish(self) -> None:
        """Ends it: what threads it left behind still say concerns nobody."""
        with self._lock:
            self._over = True
        if self._asked:
            self._channel.wake()

    def _send(self, fields: dict[str, Any]) -> bool:
        """Whether it was sent: not once the call is over, nor out of a forked process."""
        message = pack({"id": self._number, **fields})
        if len(message) > MAX_EVENT_BYTES:
            raise ValueError(f"a message of {len(message)} bytes is larger than {MAX_EVENT_BYTES}")
        with self._lock:
            if self._over or self._channel.forked:
                return False
            self._channel.send(message)
        return True


Handler = Callable[[dict[str, Any], Call], dict[str, Any]]
Handlers = Mapping[str, Handler]


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
            packed = pack(answer)
            if not (too_much := excess(packed)):
                return packed
            error = _too_large(f"the result has {too_much}")
        except TooLongError:
            error = _too_large(f"the result is larger than {MAX_BODY_BYTES // MIB} MB")
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


def _too_large(message: str) -> ToolError:
    return ToolError(ErrorCode.TOO_LARGE, message, hint="ask for less at a time")


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
    # This costs a tenth of reading how much it is now, and most processes never have that much.
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 <= RELEASE_ABOVE_BYTES:
        return
    with open("/proc/self/statm", "rb") as statm:
        pages = int(statm.read().split()[1])
    if pages * resource.getpagesize() > RELEASE_ABOVE_BYTES:
        gc.collect()
        _libc.malloc_trim(0)


class Place:
    """Where every call begins, whatever the one before left: folder and output."""

    def __init__(self, setup: Mapping[str, Any]) -> None:
        self._folder = setup["folder"]
        self._printing = Printing(_libc) if setup["capture"] else None

    def flush(self) -> None:
        """Hands over what was printed."""
        if self._printing is not None:
            self._printing.flush()

    def restore(self) -> None:
        """Makes it ready for the next call."""
        with suppress(OSError):
            os.chdir(self._folder)
        if self._printing is not None:
            self._printing.restore()


def main(fd: int) -> NoReturn:
    """Serves the server on the other end of `fd` until it is gone."""
    channel = Channel(fd)
    setup = channel.receive()[0]["setup"]
    confine(setup["memory_mb"], setup["mark"])
    sys.path += [path for path in setup["path"] if path not in sys.path]
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    channel.watch()
    place = Place(setup)
    program = Program(setup["program"], setup["memory_mb"])
    while True:
        _serve(channel, program, place)
        # Now nobody waits for it.
        signal.setitimer(signal.ITIMER_REAL, 0)
        place.restore()
        release_memory()


def _serve(channel: Channel, program: Program, place: Place) -> None:
    # A function of its own: nothing of a call outlives it.
    fields, descriptors = channel.receive()
    call = Call(channel, fields["id"], fields["timeout_s"], descriptors)
    signal.setitimer(signal.ITIMER_REAL, fields["timeout_s"] + OVERDUE_S)
    answer = {"id": fields["id"], **program.answer(fields, call)}
    if channel.forked:
        os._exit(0)
    if call.spent:
        answer["spent"] = True
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)
    packed = program.pack(answer)
    place.flush()
    call.finish()
    channel.send(packed)
    if answer.get("spent"):
        end_group()
