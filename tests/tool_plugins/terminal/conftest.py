"""Calls the terminal tools as a sandbox does: through the definition's models, as the agent's user.

Every test runs twice where that is possible: as root with an agent's user of its own, and as the
current user. Afterwards nothing the tools started may be left.
"""

import asyncio
import contextlib
import os
import resource
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tool_plugins.context import Host, Identity, ToolContext
from tool_plugins.errors import ToolError
from tool_plugins.processes import list_processes
from tool_plugins.terminal.definition import TOOLS
from tool_plugins.terminal.executor import EXECUTORS
from tool_plugins.terminal.service import Terminal

DEFINITIONS = {tool.name.removeprefix("terminal."): tool for tool in TOOLS}
WAIT_S = 10.0
PIDS_CGROUPS = (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup"))


class Tools:
    """The five tools on one host. `events` are the live events of all calls."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.live = True
        self.events: list[dict[str, Any]] = []

    async def call(self, verb: str, /, **arguments: Any) -> Any:
        definition = DEFINITIONS[verb]
        valid = definition.arguments.model_validate(arguments).model_dump(mode="json")
        context = (
            ToolContext(self.host, self.events.append) if self.live else ToolContext(self.host)
        )
        data = await EXECUTORS[verb](context, **valid)
        return definition.result.model_validate(data)

    async def run(self, command: str, **arguments: Any) -> Any:
        return await self.call("run", command=command, **arguments)

    async def stdout(self, command: str, **arguments: Any) -> str:
        """What a command prints that is to succeed."""
        result = await self.run(command, **arguments)
        assert (result.status, result.exit_code) == ("exited", 0), result
        return result.stdout

    async def refused(self, verb: str, /, **arguments: Any) -> ToolError:
        with pytest.raises(ToolError) as caught:
            await self.call(verb, **arguments)
        return caught.value

    async def read_until(self, process_id: str, pattern: str) -> Any:
        result = await self.call("read", process_id=process_id, wait_for=pattern, wait_s=WAIT_S)
        assert result.matched, result
        return result

    async def ended(self, process_id: str) -> Any:
        """The state of a process once it has ended."""
        process = self.host.service(Terminal).process(process_id)
        assert await process.wait_finished(WAIT_S)
        return await self.call("read", process_id=process_id)


def started() -> set[int]:
    """Pids of what descends from this test and lives.

    Known by a limit of this test alone that children inherit, not by what the tools themselves use.
    """
    line = f"Max msgqueue size         {resource.getrlimit(resource.RLIMIT_MSGQUEUE)[0]} "
    found = set()
    for entry in list_processes():
        with contextlib.suppress(OSError):
            if not entry.zombie and line in Path(f"/proc/{entry.pid}/limits").read_text():
                found.add(entry.pid)
    return found - {os.getpid()}


async def until(condition: Callable[[], object]) -> None:
    """Waits for what no event tells of."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.fixture(params=["agent", "same-user"])
def identity(request: pytest.FixtureRequest) -> Identity | None:
    if request.param == "same-user":
        return None
    if os.geteuid() != 0:
        pytest.skip("changing the user needs root")
    # Other tests on this machine must not be taken for ours.
    return Identity(200_777, 200_777, 1_000_000_000 + secrets.randbelow(200_000) * 10_000)


@pytest.fixture
def host(identity: Identity | None) -> Iterator[Host]:
    # Not pytest's own folder: the agent's user could not enter it.
    root = Path(tempfile.mkdtemp(prefix="terminal-"))
    root.chmod(0o711)
    folders = [root / name for name in ("workspace", "tmp", "spool")]
    for folder in folders:
        folder.mkdir()
        if identity is not None:
            os.chown(folder, identity.uid, identity.gid)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folders[0]), "LANG": "C.UTF-8"}
    environment |= {"TERM": "dumb", "PAGER": "cat"}
    yield Host(*folders, identity=identity, environment=environment)
    shutil.rmtree(root)


@pytest.fixture
async def tools(host: Host) -> AsyncIterator[Tools]:
    limits = resource.getrlimit(resource.RLIMIT_MSGQUEUE)
    resource.setrlimit(resource.RLIMIT_MSGQUEUE, (secrets.randbelow(800_000), limits[1]))
    yield Tools(host)
    await host.aclose()
    left = started()
    resource.setrlimit(resource.RLIMIT_MSGQUEUE, limits)
    assert left == set()
    assert list(host.spool.iterdir()) == []


@pytest.fixture
def pids_limit() -> Iterator[Callable[[int, int], None]]:
    """Puts a process into a control group of so many processes."""
    root = next((path for path in PIDS_CGROUPS if (path / "cgroup.procs").exists()), None)
    if root is None or os.geteuid() != 0:
        pytest.skip("a limit of processes needs root and the pids controller")
    group = root / f"terminal-test-{secrets.token_hex(4)}"
    try:
        group.mkdir()
        (group / "pids.max").write_text("max")
    except OSError as exc:
        pytest.skip(f"no control group can be made: {exc}")

    def limit(pid: int, count: int) -> None:
        (group / "pids.max").write_text(str(count))
        (group / "cgroup.procs").write_text(str(pid))

    yield limit
    # Only an empty group can be removed, and the last zombie in it may not be reaped yet.
    asyncio.run(until(lambda: removed(group)))


def removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:
        return False
    return True
