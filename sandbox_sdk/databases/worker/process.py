"""What the processes of this package do to themselves before they run anything. Linux."""

import ctypes
import gc
import os
import resource
import signal

MAX_DATA_BYTES = 1024**3
"""Of a worker. With every library loaded and six gRPC threads it uses 150 MB of it."""

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_NO_NEW_PRIVS = 38

# Loaded before any fork: a worker that is short of memory cannot load it.
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int) -> None:
    """Has the kernel kill this process when `parent`, which must have one thread, ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def confine(name: str) -> None:
    """Bounds memory, leaves no core dump, gains no rights, and cannot be looked into."""
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_DATA_BYTES, MAX_DATA_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_NAME, ctypes.create_string_buffer(name.encode()[:15]))


def thread_count() -> int:
    """Threads of this process, those of libraries too."""
    return len(os.listdir("/proc/self/task"))


def release_memory() -> None:
    """Gives freed memory back, so that a call that took too much leaves room for the next."""
    gc.collect()
    _libc.malloc_trim(0)


def _prctl(option: int, value: int | ctypes.Array[ctypes.c_char]) -> None:
    given = ctypes.c_ulong(value) if isinstance(value, int) else value
    zero = ctypes.c_ulong(0)
    if _libc.prctl(option, given, zero, zero, zero) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")
