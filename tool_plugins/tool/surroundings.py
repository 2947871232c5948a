"""What of a process user code may change, and the next call must find as it was.

    surroundings = Surroundings()   # once the file is loaded
    ...                             # user code
    surroundings.mend()             # our own code can be relied on again
    surroundings.leave()
    surroundings.spoiled            # this process must not do another call

The worker itself sees to the current folder and to the descriptors of its output. What is the
file's own stays as it left it: variables, threads, tasks, the environment, imported modules.
"""

import builtins
import json
import json.decoder
import json.encoder
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

# Two numbers are the C library's own.
_SIGNALS = [number for number in range(1, signal.NSIG) if number not in (32, 33)]
_LIMITS = (
    resource.RLIMIT_AS,
    resource.RLIMIT_CPU,
    resource.RLIMIT_DATA,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_NOFILE,
    resource.RLIMIT_NPROC,
)
# What the answer is made with. A patch of a method or a class in them counts too.
_OWNERS: tuple[Any, ...] = (
    builtins,
    json,
    json.decoder,
    json.encoder,
    json.JSONDecoder,
    json.JSONEncoder,
)
_STREAMS = ("stdin", "stdout", "stderr")
_UMASK = 0o022
_getsignal = getattr(signal, "_signal", signal).getsignal


class Surroundings:
    """As the file left them when it was loaded."""

    def __init__(self) -> None:
        self.spoiled = False
        os.umask(_UMASK)
        self._streams = tuple(getattr(sys, name) for name in _STREAMS)
        self._input = _input()
        self._names = [dict(vars(owner)) for owner in _OWNERS]
        self._interpreter = _interpreter()
        self._handlers = _handlers()
        self._blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._limits = _limits()

    def mend(self) -> None:
        """Puts back what Python code stands on. A process in which that was needed is spoiled."""
        self._judge(self._mend)

    def leave(self) -> None:
        """Puts back everything that can be."""
        self._judge(self._leave)

    def _judge(self, work: Callable[[], None]) -> None:
        """What cannot even be looked at is not as it was."""
        try:
            work()
        except BaseException:  # objects of user code are compared and dropped here
            self.spoiled = True

    def _mend(self) -> None:
        if self._interpreter != _interpreter():
            recursion, trace, profile = self._interpreter
            sys.setrecursionlimit(recursion)
            sys.settrace(trace)
            sys.setprofile(profile)
        for owner, names in zip(_OWNERS, self._names, strict=True):
            if vars(owner) != names:
                self.spoiled |= _put_back(owner, names)

    def _leave(self) -> None:
        self._mend()
        os.umask(_UMASK)
        self._put_streams_back()
        if self._handlers != (found := _handlers()):
            self._put_handlers_back(found)
        if self._blocked != signal.pthread_sigmask(signal.SIG_BLOCK, ()):
            signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked)
        if self._limits != _limits() or self._input != _input():
            self.spoiled = True
        if any(stream.closed for stream in self._streams):
            self.spoiled = True

    def _put_streams_back(self) -> None:
        for name, stream in zip(_STREAMS, self._streams, strict=True):
            found = getattr(sys, name, None)
            if found is not stream:
                # What it holds, if it is one that can say.
                with suppress(BaseException):
                    found.flush()  # pyright: ignore[reportOptionalMemberAccess]
                setattr(sys, name, stream)

    def _put_handlers_back(self, found: list[Any]) -> None:
        # An alarm that is still to come would end the process now.
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, before, now in zip(_SIGNALS, self._handlers, found, strict=True):
            if before is not now:
                # None is a handler of C code, which Python cannot name.
                signal.signal(number, before)


def _input() -> tuple[int, int]:
    """What standard input is: empty. Whoever closes it gives its number to the next file."""
    status = os.fstat(0)
    return status.st_dev, status.st_ino


def _handlers() -> list[Any]:
    return [_getsignal(number) for number in _SIGNALS]


def _limits() -> list[tuple[int, int]]:
    return [resource.getrlimit(kind) for kind in _LIMITS]


def _interpreter() -> tuple[int, Any, Any]:
    return sys.getrecursionlimit(), sys.gettrace(), sys.getprofile()


def _put_back(owner: Any, names: dict[str, Any]) -> bool:
    """Whether anything had to be. Names that were added do no harm, and are the file's own."""
    found = dict(vars(owner))
    changed = [name for name in names if name not in found or found[name] is not names[name]]
    for name in changed:
        setattr(owner, name, names[name])
    names |= {name: value for name, value in found.items() if name not in names}
    return bool(changed)
