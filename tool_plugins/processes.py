"""Processes of the agent's user: start one, learn of its exit, find and end all that came of it.

Everything a program starts is found again, however it tries to leave: by a supplementary group no
one but the server can give or take (`Identity.tag_base` + n), or, where the user is not changed, by
the mark and by descent. Within one tree the *mark* tells later work from earlier work: it is the
hard limit of a resource the kernel does not use (file locks), children inherit it, and without
privileges it can only go down. Never waits for "any child", never polls for an exit.
"""

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .context import Host, Identity
from .errors import ErrorCode, ToolError

KILL_S = 5.0
# Each tree has a range of marks, drawn by lot: servers on one machine must not meet in one.
LOWEST_RANGE, HIGHEST_RANGE = 1 << 16, 1 << 38
MARKS_PER_TREE = 1 << 24
# The OOM killer is to take the agent's processes before the server.
OOM_SCORE_ADJ = b"900"
FREEZE_ROUNDS = 50
FIRST_PAUSE_S = 0.001
LONGEST_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class ProcessEntry:
    """What the kernel says of one process. `groups` is the text of its supplementary groups."""

    pid: int
    parent: int
    zombie: bool
    groups: bytes


def list_processes() -> Iterator[ProcessEntry]:
    """Every process that can be seen now, each looked at when it is asked for.

    The newest come first: processes that keep starting the next and ending would else be over by
    the time they are looked at, and the next not yet in the list.
    """
    pids = sorted((int(name) for name in os.listdir("/proc") if name.isdigit()), reverse=True)
    for pid in pids:
        if (entry := _entry(pid)) is not None:
            yield entry


def _entry(pid: int) -> ProcessEntry | None:
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return None
    return ProcessEntry(
        pid,
        int(_line(status, b"\nPPid:")),
        _line(status, b"\nState:")[:1] in (b"Z", b"X"),
        _line(status, b"\nGroups:"),
    )


def _line(status: bytes, key: bytes) -> bytes:
    start = status.index(key) + len(key)
    return status[start : status.index(b"\n", start)].strip()


def read_mark(pid: int) -> int | None:
    """The mark of a process; None when it has none or is gone."""
    try:
        limits = Path(f"/proc/{pid}/limits").read_bytes()
    except OSError:
        return None
    start = limits.find(b"Max file locks")
    fields = limits[start : start + 80].split()[3:5] if start >= 0 else []
    return int(fields[1]) if len(fields) == 2 and fields[1].isdigit() else None


class Tree:
    """All that descends from the processes started with it, dead or alive, near or far."""

    def __init__(self, identity: Identity | None, number: int) -> None:
        lot = LOWEST_RANGE + secrets.randbelow(HIGHEST_RANGE - LOWEST_RANGE)
        self._top = lot * MARKS_PER_TREE
        self._next = self._top
        self._root: int | None = None
        self.identity = identity
        self.tag = identity.tag_base + number if identity else None

    def next_mark(self) -> int:
        """A mark below all that were given before."""
        self._next -= 1
        return self._next

    def adopt(self, pid: int) -> None:
        """Names the process to descend from where there are no tags."""
        self._root = pid

    def members(self, but: int | None = None) -> set[int]:
        """The pids of the tree that live, without `but`."""
        found = self._tagged() if self.tag is not None else self._descended()
        found.discard(but or 0)
        return found

    def members_since(self, mark: int, but: int | None = None) -> set[int]:
        """Those of that mark or a later one.

        A process whose mark cannot be read counts as late: better one too many than one left over.
        """
        return {pid for pid in self.members(but) if (read_mark(pid) or 0) <= mark}

    def members_of(self, mark: int, but: int | None = None) -> set[int]:
        """Those of exactly that mark."""
        return {pid for pid in self.members(but) if read_mark(pid) == mark}

    def _tagged(self) -> set[int]:
        tag = str(self.tag).encode()
        return {e.pid for e in list_processes() if not e.zombie and tag in e.groups.split()}

    def _descended(self) -> set[int]:
        entries: dict[int, ProcessEntry] = {}
        found: set[int] = set()
        lowest = self._top - MARKS_PER_TREE
        for entry in list_processes():
            entries[entry.pid] = entry
            if lowest < (read_mark(entry.pid) or 0) < self._top:
                found.add(entry.pid)
        if self._root in entries:
            found.add(self._root)
        children: dict[int, list[int]] = {}
        for entry in entries.values():
            children.setdefault(entry.parent, []).append(entry.pid)
        todo = list(found)
        while todo:
            fresh = [pid for pid in children.get(todo.pop(), ()) if pid not in found]
            found.update(fresh)
            todo += fresh
        return {pid for pid in found if not entries[pid].zombie}


class Trees:
    """Makes the trees of one server, no two with the same tag. Use `host.service(Trees)`."""

    def __init__(self, host: Host) -> None:
        self._identity = host.identity
        self._count = 0

    def new(self) -> Tree:
        """A tree of its own."""
        self._count += 1
        return Tree(self._identity, self._count)


def send_signal(pids: Iterable[int], number: int) -> None:
    """Sends a signal to each; those that are gone do not matter."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


async def kill_all(select: Callable[[], set[int]], *, within_s: float = KILL_S) -> set[int]:
    """Kills what `select` finds until it finds nothing; gives the pids it killed.

    All are stopped before the first is killed, so that none can start another meanwhile. Gives up
    after `within_s`: a process in an uninterruptible system call dies when that returns.
    """
    killed: set[int] = set()
    pause = FIRST_PAUSE_S
    async with _deadline(within_s):
        # One that moves from process to process can be missed once; twice is most unlikely.
        while pids := _freeze(select) or _freeze(select):
            send_signal(pids, signal.SIGKILL)
            killed |= pids
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)
    return killed


@contextlib.asynccontextmanager
async def _deadline(seconds: float):
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            yield


def _freeze(select: Callable[[], set[int]]) -> set[int]:
    frozen: set[int] = set()
    for _ in range(FREEZE_ROUNDS):
        fresh = select() - frozen
        if not fresh:
            break
        send_signal(fresh, signal.SIGSTOP)
        frozen |= fresh
    return frozen


class Child:
    """A process we started. `exited` is set, and `on_exit` called, once it has ended."""

    def __init__(self, popen: "subprocess.Popen[bytes]", on_exit: Callable[[], None]) -> None:
        self._popen = popen
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self._pidfd = os.pidfd_open(popen.pid)
        self.pid = popen.pid
        self.exited = asyncio.Event()
        self._loop.add_reader(self._pidfd, self._ended)

    @property
    def returncode(self) -> int | None:
        """As `subprocess` gives it: negative for a signal, None while it runs."""
        return self._popen.returncode

    def signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if not self.exited.is_set():
            send_signal([self.pid], number)

    def _ended(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._popen.wait()
        self.exited.set()
        self._on_exit()


def spawn(
    arguments: Sequence[str],
    *,
    tree: Tree,
    environment: Mapping[str, str],
    folder: Path,
    stdio: tuple[int, int, int],
    keep: Sequence[int] = (),
    on_exit: Callable[[], None] = lambda: None,
) -> Child:
    """Starts a program as the agent's user, in a POSIX session of its own.

    Raises:
        ToolError: the sandbox may not have one more process (PIDS_LIMIT).
    """
    user = tree.identity
    # Spelled out rather than gathered in a mapping: a wrong user must not be a typing accident.
    try:
        popen = subprocess.Popen(  # noqa: S603
            list(arguments),
            stdin=stdio[0],
            stdout=stdio[1],
            stderr=stdio[2],
            env=dict(environment),
            cwd=folder,
            pass_fds=tuple(keep),
            start_new_session=True,
            umask=0o022,
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[tree.tag] if user and tree.tag is not None else None,
        )
    except BlockingIOError as exc:
        raise ToolError(
            ErrorCode.PIDS_LIMIT,
            "the sandbox runs as many processes as it may",
            hint="end some with terminal_kill, or run fewer at a time",
        ) from exc
    tree.adopt(popen.pid)
    # A process that has ended already has nothing to write to.
    with contextlib.suppress(OSError):
        Path(f"/proc/{popen.pid}/oom_score_adj").write_bytes(OOM_SCORE_ADJ)
    return Child(popen, on_exit)
