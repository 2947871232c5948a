"""Worker processes of every kind: as another user where that is possible, and as this one.

Afterwards nothing that came of them may be left.
"""

import contextlib
import resource
import secrets
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.tool_plugins.terminal.conftest import host as host
from tests.tool_plugins.terminal.conftest import identity as identity
from tests.tool_plugins.terminal.conftest import started as started
from tests.tool_plugins.terminal.conftest import until as until
from tool_plugins.context import Host, Identity
from tool_plugins.worker.pool import WorkerPool

PROGRAM = "tests.tool_plugins.worker.program"
SYSTEM_PYTHON = f"/usr/bin/python3.{sys.version_info.minor}"
MakePool = Callable[..., WorkerPool]


@pytest.fixture(autouse=True)
def _python(identity: Identity | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that the agent's user may run: ours may lie in somebody's home."""
    if identity is None or reachable(Path(sys.executable).resolve()):
        return
    if not Path(SYSTEM_PYTHON).exists():
        pytest.skip("no Python of this version that another user may run")
    monkeypatch.setattr(sys, "executable", SYSTEM_PYTHON)


def reachable(path: Path) -> bool:
    """Whether everybody may enter the folders above."""
    return all(parent.stat().st_mode & 0o001 for parent in path.parents)


@pytest.fixture
async def make_pool(host: Host) -> AsyncIterator[MakePool]:
    """Makes pools of the test program and closes them; then nothing may be left."""
    limits = resource.getrlimit(resource.RLIMIT_MSGQUEUE)
    resource.setrlimit(resource.RLIMIT_MSGQUEUE, (secrets.randbelow(800_000), limits[1]))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(host.aclose)

        def make(program: str = PROGRAM, **options: Any) -> WorkerPool:
            pool = WorkerPool(host, program, **options)
            stack.push_async_callback(pool.aclose)
            return pool

        yield make
    left = started()
    resource.setrlimit(resource.RLIMIT_MSGQUEUE, limits)
    assert left == set()


@pytest.fixture
async def pool(make_pool: MakePool) -> WorkerPool:
    return make_pool()


def lives(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
