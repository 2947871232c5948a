"""Counters of the sandbox's control group that tell why a process died."""

import os
from dataclasses import dataclass
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
# Version 1 first: there, a file of version 2 is nowhere.
OOM_FILES = ("memory/memory.oom_control", "memory.events")
PIDS_FILES = ("pids/pids.events", "pids.events")


@dataclass(frozen=True, slots=True)
class Losses:
    """How often, so far, memory ran out and a process was refused."""

    oom: int
    pids: int


class Counters:
    """Reads the counters through descriptors it keeps open, so that a reading costs little."""

    def __init__(self, root: Path = CGROUP) -> None:
        self._oom = _open(root, OOM_FILES)
        self._pids = _open(root, PIDS_FILES)

    def read(self) -> Losses:
        """The counters now; zero where the kernel does not count."""
        return Losses(_value(self._oom, b"oom_kill "), _value(self._pids, b"max "))

    def cause_since(self, before: Losses) -> str | None:
        """What a process that failed since then may have died of: "oom", "pids" or None."""
        now = self.read()
        if now.oom > before.oom:
            return "oom"
        return "pids" if now.pids > before.pids else None

    def close(self) -> None:
        """Closes the descriptors."""
        for fd in (self._oom, self._pids):
            if fd is not None:
                os.close(fd)
        self._oom = self._pids = None


def _open(root: Path, names: tuple[str, ...]) -> int | None:
    for name in names:
        try:
            return os.open(root / name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
    return None


def _value(fd: int | None, key: bytes) -> int:
    if fd is None:
        return 0
    for line in os.pread(fd, 4096, 0).splitlines():
        if line.startswith(key):
            return int(line[len(key) :])
    return 0
