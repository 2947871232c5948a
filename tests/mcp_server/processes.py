"""Server processes as clients start them, and the proof that nothing of them is left."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "mcp_server")
END_S = 5.0
"""A server has to be gone by then, with everything it started."""


def arguments(state: Path, *more: str, engine: str = "in_process") -> list[str]:
    """Arguments of `serve` on state of its own."""
    return ["serve", "--engine", engine, "--state-dir", str(state), *more]


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process of our command with pipes, killed with its children if the test leaves it."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        for each in (*descendants(process.pid), process):
            os.kill(each.pid, signal.SIGKILL) if alive(each.pid) else None
        process.communicate()


def descendants(pid: int) -> list[psutil.Process]:
    """Every process below that one."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def alive(pid: int) -> bool:
    """Whether a process still runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
