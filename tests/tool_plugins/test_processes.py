"""Finding and ending what came of a process."""

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tool_plugins.context import Identity
from tool_plugins.processes import Child, Tree, kill_all, list_processes, read_mark, spawn

WAIT_S = 10.0
Start = Callable[..., Child]


@pytest.fixture(params=["tag", "mark"])
async def trees(request: pytest.FixtureRequest) -> AsyncIterator[list[Tree]]:
    """Two trees; whatever a test leaves in them is ended."""
    identity = None
    if request.param == "tag":
        if os.geteuid() != 0:
            pytest.skip("changing the user needs root")
        base = 2_000_000_000 + secrets.randbelow(100_000) * 100
        identity = Identity(200_778, 200_778, base)
    both = [Tree(identity, 1), Tree(identity, 2)]
    yield both
    for tree in both:
        await kill_all(tree.members)


@pytest.fixture
def start() -> Start:
    def start(tree: Tree, script: str) -> Child:
        null = os.open(os.devnull, os.O_RDWR)
        try:
            return spawn(
                ["/bin/bash", "-c", f"ulimit -HSx {tree.next_mark()}; {script}"],
                tree=tree,
                environment={"PATH": os.environ["PATH"]},
                folder=Path("/"),
                stdio=(null, null, null),
            )
        finally:
            os.close(null)

    return start


def comm(pid: int) -> str:
    try:
        return text(pid, "comm").strip()
    except OSError:
        return ""


def text(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_the_exit_is_told_without_asking(trees: list[Tree], start: Start):
    child = start(trees[0], "exit 7")
    async with asyncio.timeout(WAIT_S):
        await child.exited.wait()

    assert child.returncode == 7


async def test_a_death_by_signal_is_told(trees: list[Tree], start: Start):
    child = start(trees[0], "exec sleep 100")
    child.signal(signal.SIGKILL)
    async with asyncio.timeout(WAIT_S):
        await child.exited.wait()

    assert child.returncode == -signal.SIGKILL
    child.signal(signal.SIGKILL)


async def test_a_daemon_that_shed_everything_is_found_and_ended(trees: list[Tree], start: Start):
    child = start(trees[0], "(env -i setsid /bin/sh -c '(sleep 100 &) & sleep 101 &' &) ; exit 0")
    other = start(trees[1], "exec sleep 102")
    await child.exited.wait()
    await until(lambda: [comm(pid) for pid in trees[0].members()] == ["sleep"] * 2)
    expected = trees[0].members()

    killed = await kill_all(trees[0].members)

    assert killed == expected
    assert trees[0].members() == set()
    assert trees[1].members() == {other.pid}


async def test_marks_tell_later_work_from_earlier(trees: list[Tree], start: Start):
    tree = trees[0]
    later = tree.next_mark()
    start(
        tree, f"(setsid sleep 100 &); ulimit -HSx {later - 1}; (setsid sleep 101 &); exec sleep 102"
    )
    await until(lambda: [comm(pid) for pid in tree.members()] == ["sleep"] * 3)
    marks = {pid: read_mark(pid) for pid in tree.members()}
    lowest = min(mark for mark in marks.values() if mark)

    assert tree.members_since(lowest) == {pid for pid, mark in marks.items() if mark == lowest}
    assert tree.members_of(lowest) == tree.members_since(lowest)
    assert tree.members_since(max(mark for mark in marks.values() if mark)) == set(marks)


async def test_a_child_has_the_agents_user_and_no_privileges(trees: list[Tree], start: Start):
    identity = trees[0].identity
    if identity is None:
        pytest.skip("without an identity the user stays")
    child = start(trees[0], "exec sleep 100")
    await until(lambda: comm(child.pid) == "sleep")
    status = dict(line.split(":\t", 1) for line in text(child.pid, "status").splitlines())

    assert status["Uid"] == "\t".join(["200778"] * 4)
    assert status["Gid"] == "\t".join(["200778"] * 4)
    assert status["Groups"].split() == [str(trees[0].tag)]
    assert int(status["CapPrm"], 16) == int(status["CapEff"], 16) == 0
    assert os.getsid(child.pid) == child.pid
    assert text(child.pid, "oom_score_adj") == "900\n"


async def test_a_child_inherits_no_descriptor(trees: list[Tree], start: Start):
    secret = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        child = start(trees[0], "exec sleep 100")
        await until(lambda: comm(child.pid) == "sleep")
        assert sorted(os.listdir(f"/proc/{child.pid}/fd")) == ["0", "1", "2"]
    finally:
        os.close(secret)


async def test_trees_of_two_servers_do_not_meet(start: Start):
    one, two = Tree(None, 1), Tree(None, 1)
    child = start(one, "exec sleep 100")
    await until(lambda: read_mark(child.pid) is not None)

    assert two.members() == set()
    assert await kill_all(one.members) == {child.pid}


async def test_killing_gives_up_after_a_while():
    # A pid that cannot be killed stands for a process that hangs in the kernel.
    assert await kill_all(lambda: {1 << 22}, within_s=0.1) == {1 << 22}


def test_processes_are_listed_with_what_tells_them_apart():
    entries = {entry.pid: entry for entry in list_processes()}

    own = entries[os.getpid()]
    assert own.parent == os.getppid()
    assert not own.zombie
    assert own.groups.split() == [str(group).encode() for group in sorted(os.getgroups())]


def test_a_process_without_a_mark_has_none():
    assert read_mark(os.getpid()) is None
    assert read_mark(1 << 22) is None
