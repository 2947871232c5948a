"""The checks of the conformance kit: what every engine must hold.

Each makes its own containers through `Subject` and fails by raising. The kit that runs them and
clears up after them is `conformance.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from tool_plugins.contract import Action
from tool_plugins.errors import ConfigurationError, EngineError, SandboxError

from .connection import Connection
from .engine import Container, Engine
from .packages import make_folder
from .spec import PROTOCOL_VERSION, ComputeResources, ContainerSpec

ACTION_TIMEOUT_S = 60.0
LABEL = "conformance"
PACKAGE_FILE = "package.py"
SMALL = ComputeResources(cpus=1, memory_mb=128, disk_mb=32, tmp_mb=8, pids=48)


class Broken(AssertionError):
    """An engine does not hold what a check asks."""


@dataclass
class Subject:
    """The engine under test, with what one check made on it."""

    engine: Engine
    names: list[str] = field(default_factory=list)

    def spec(self, **changes: Any) -> ContainerSpec:
        """A small specification with a name and a label of this check's own."""
        name = f"conform-{uuid4().hex[:16]}"
        self.names.append(name)
        fields = {"name": name, "labels": {LABEL: name}, "resources": SMALL} | changes
        return ContainerSpec(**fields)

    @asynccontextmanager
    async def running(self, **changes: Any) -> AsyncIterator[tuple[Container, Connection]]:
        """A started container that answers, and a connection to it."""
        container = await self.engine.create(self.spec(**changes))
        await container.start()
        async with Connection(container.endpoint) as connection:
            await connection.ready()
            yield container, connection


Run = Callable[[Subject], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Check:
    """A named promise. `isolating` ones are asked of engines that isolate only."""

    name: str
    promise: str
    run: Run
    isolating: bool


CHECKS: dict[str, Check] = {}


def check(*, isolating: bool = False) -> Callable[[Run], Run]:
    """Adds a check to the list under its function's name."""

    def register(run: Run) -> Run:
        name = run.__name__  # type: ignore[attr-defined]  # every coroutine function has one
        promise = (run.__doc__ or "").strip().splitlines()[0]
        CHECKS[name] = Check(name, promise, run, isolating)
        return run

    return register


def require(held: object, message: str) -> None:
    """Ends the check as failed unless `held`."""
    if not held:
        raise Broken(message)


async def act(connection: Connection, tool: str, **arguments: Any) -> dict[str, Any]:
    """Runs an action that must not end in a tool error; its data."""
    action = Action(id=uuid4().hex, tool=tool, args=arguments)
    observation = await connection.execute(action, timeout_s=ACTION_TIMEOUT_S)
    require(observation.error is None, f"{tool} ended in {observation.error}")
    return dict(observation.data or {})


async def shell(connection: Connection, command: str) -> dict[str, Any]:
    """Runs a command; its data."""
    return await act(connection, "terminal.run", command=command)


@check()
async def says_whether_it_isolates(subject: Subject) -> None:
    """Capabilities name the engine and agree with its own word on isolation."""
    found = await subject.engine.capabilities()
    require(found.engine == subject.engine.name, f"capabilities name {found.engine!r}")
    require(found.isolates == subject.engine.isolates, "capabilities say otherwise on isolation")


@check()
async def answers_after_start(subject: Subject) -> None:
    """A started container answers, speaks the protocol and has tools."""
    container = await subject.engine.create(subject.spec())
    await container.start()
    async with Connection(container.endpoint) as connection:
        ready = await connection.ready()
    require(ready.protocol == PROTOCOL_VERSION, f"it speaks protocol {ready.protocol}")
    require("terminal.run" in ready.tools, f"its tools are {ready.tools}")


@check()
async def status_follows_its_life(subject: Subject) -> None:
    """A container runs after start and no more after its removal."""
    container = await subject.engine.create(subject.spec())
    require(not (await container.status()).running, "it runs before start")
    await container.start()
    require((await container.status()).running, "it does not run after start")
    await container.remove()
    require(not (await container.status()).running, "it runs after removal")


@check()
async def lists_by_labels(subject: Subject) -> None:
    """The inventory finds containers by all their labels, started or not."""
    first, second = subject.spec(), subject.spec()
    for spec in (first, second):
        await subject.engine.create(spec)
    found = await subject.engine.list(first.labels)
    require([row.name for row in found] == [first.name], f"labels of one found {found}")
    require(found[0].labels == first.labels, f"it lists labels {found[0].labels}")
    every = {row.name for row in await subject.engine.list({})}
    require({first.name, second.name} <= every, "an empty filter does not find all")


@check()
async def restores_the_specification(subject: Subject) -> None:
    """A container that is taken up by name has the specification it was created with."""
    spec = subject.spec(environment={"COLOUR": "blue"})
    created = await subject.engine.create(spec)
    await created.start()
    found = await subject.engine.get(spec.name)
    require(found is not None, "it is not found by name")
    assert found is not None
    require(found.spec == spec, f"its specification came back as {found.spec}")
    async with Connection(found.endpoint) as connection:
        await connection.ready()


@check()
async def unknown_name_is_nothing(subject: Subject) -> None:
    """Taking up a name that does not exist gives None; removing it does nothing."""
    name = subject.spec().name
    require(await subject.engine.get(name) is None, "something is there")
    await subject.engine.remove(name)


@check()
async def refuses_a_name_twice(subject: Subject) -> None:
    """A second container of one name is refused and leaves the first as it is."""
    spec = subject.spec()
    container = await subject.engine.create(spec)
    await container.start()
    try:
        await subject.engine.create(spec)
    except EngineError:
        require((await container.status()).running, "the refusal ended the first one")
        return
    raise Broken("the second one was created")


@check()
async def removes_again_and_again(subject: Subject) -> None:
    """Removal leaves nothing, may be repeated, and frees the name with an empty workspace."""
    spec = subject.spec()
    container = await subject.engine.create(spec)
    await container.start()
    async with Connection(container.endpoint) as connection:
        await connection.ready()
        await connection.upload("left.txt", b"x")
    for _ in range(2):
        await container.remove()
        await subject.engine.remove(spec.name)
    require(await subject.engine.get(spec.name) is None, "it is still there")
    require(await subject.engine.list(spec.labels) == [], "it is still listed")
    again = await subject.engine.create(spec)
    await again.start()
    async with Connection(again.endpoint) as connection:
        await connection.ready()
        listed = await act(connection, "filesystem.list", path=".")
    require("left.txt" not in str(listed), "the old workspace is still there")


@check()
async def creates_side_by_side(subject: Subject) -> None:
    """Containers can be created at the same time."""
    specs = [subject.spec() for _ in range(4)]
    created = await asyncio.gather(*(subject.engine.create(spec) for spec in specs))
    await asyncio.gather(*(container.start() for container in created))
    states = [await container.status() for container in created]
    require(all(state.running for state in states), f"they are {states}")


@check()
async def reports_every_limit(subject: Subject) -> None:
    """Each requested limit is reported with what became of it."""
    async with subject.running() as (container, _):
        found = {limit.name: limit for limit in await container.limits()}
    wanted = SMALL.model_dump(exclude={"runtime", "enforcement"}, exclude_none=True)
    require(set(wanted) <= set(found), f"not reported: {sorted(set(wanted) - set(found))}")
    wrong = {n: found[n].requested for n in wanted if found[n].requested != wanted[n]}
    require(not wrong, f"reported as requested: {wrong}")


@check()
async def files_survive_the_round_trip(subject: Subject) -> None:
    """Bytes that are uploaded come back unchanged."""
    content = bytes(range(256)) * 4096
    async with subject.running() as (_, connection):
        result = await connection.upload("data/every byte.bin", content)
        back = b"".join([piece async for piece in connection.download("data/every byte.bin")])
    require(result.bytes == len(content), f"it took {result.bytes} bytes")
    require(back == content, "they came back otherwise")


@check()
async def tools_share_one_workspace(subject: Subject) -> None:
    """What one tool writes another reads, and commands keep their exit code and streams."""
    async with subject.running(environment={"COLOUR": "blue"}) as (_, connection):
        await act(connection, "filesystem.write", path="note.txt", content="hello\n")
        data = await shell(connection, "cat note.txt; echo $COLOUR; echo no >&2; (exit 3)")
    require(data["stdout"] == "hello\nblue\n", f"stdout was {data['stdout']!r}")
    require(data["stderr"] == "no\n", f"stderr was {data['stderr']!r}")
    require(data["exit_code"] == 3, f"the exit code was {data['exit_code']}")


@check()
async def sandboxes_are_apart(subject: Subject) -> None:
    """A file of one container is not in another."""
    async with subject.running() as (_, one), subject.running() as (_, other):
        await one.upload("mine.txt", b"x")
        listed = await act(other, "filesystem.list", path=".")
    require("mine.txt" not in str(listed), "it is")


@check()
async def removed_container_answers_no_more(subject: Subject) -> None:
    """A call to a removed container ends in an error and does not hang."""
    async with subject.running() as (container, connection):
        await container.remove()
        try:
            await act(connection, "filesystem.list", path=".")
        except (OSError, SandboxError):  # over TCP a stranger may answer at the old address
            return
    raise Broken("it answered")


@check(isolating=True)
async def limits_are_read_back(subject: Subject) -> None:
    """Every limit holds and was read back from the running container."""
    async with subject.running() as (container, _):
        limits = await container.limits()
    weak = [limit for limit in limits if limit.limit_class == "none" or not limit.verified]
    require(not weak, f"not so: {weak}")


@check(isolating=True)
async def commands_run_as_the_agent(subject: Subject) -> None:
    """Commands run as the user the specification names, which is not root."""
    async with subject.running(agent_uid=345_678) as (_, connection):
        data = await shell(connection, "id -u; id -g; whoami")
    require(data["stdout"].split() == ["345678", "345678", "agent"], f"it is {data['stdout']!r}")


@check(isolating=True)
async def action_server_is_out_of_reach(subject: Subject) -> None:
    """Commands cannot end the action server, nor enter its folder."""
    async with subject.running() as (container, connection):
        await shell(connection, "kill -9 1; kill -9 $(pgrep -o python3); true")
        data = await shell(connection, "ls /run/sandbox/control || cat /proc/1/environ")
        require(data["exit_code"] != 0, "they could look into it")
        require((await container.status()).running, "they could end it")


@check(isolating=True)
async def nothing_outside_answers(subject: Subject) -> None:
    """Commands reach no address outside, and resolve no name."""
    async with subject.running() as (_, connection):
        for target in ("1.1.1.1/53", "169.254.169.254/80", "example.com/80"):
            data = await shell(connection, f"timeout 3 bash -c '</dev/tcp/{target}'")
            require(data["exit_code"] != 0, f"{target} answers")
        data = await shell(connection, "exec 3<>/dev/udp/127.0.0.1/9 && echo loopback")
        require("loopback" in data["stdout"], "not even itself")


@check(isolating=True)
async def root_is_read_only(subject: Subject) -> None:
    """The root file system cannot be written; the workspace can."""
    async with subject.running() as (_, connection):
        data = await shell(connection, "touch /usr/bin/x /etc/x /x")
        require(data["exit_code"] != 0, "it can")
        data = await shell(connection, "touch x && echo yes")
        require(data["stdout"] == "yes\n", "the workspace cannot be written")


@check(isolating=True)
async def number_of_processes_is_limited(subject: Subject) -> None:
    """A fork bomb meets the limit, and the container still answers afterwards."""
    bomb = (
        "import os, time\nn = 0\ntry:\n while n < 1000:\n  n += 1\n"
        "  if os.fork() == 0:\n   time.sleep(2); os._exit(0)\n"
        "except BlockingIOError: print('refused', n)"
    )
    async with subject.running() as (_, connection):
        await connection.upload("bomb.py", bomb.encode())
        data = await shell(connection, "python3 bomb.py")
        require("refused" in data["stdout"], f"it printed {data['stdout']!r}")
        require(int(data["stdout"].split()[1]) <= SMALL.pids, "more were made")
        require((await shell(connection, "echo on"))["stdout"] == "on\n", "it answers no more")


@check(isolating=True)
async def memory_is_limited(subject: Subject) -> None:
    """A command that takes too much memory is ended, and the container still answers."""
    async with subject.running() as (_, connection):
        data = await shell(connection, "python3 -c 'x = b\"x\" * (2 << 30)'")
        require(data["exit_code"] != 0, "it was not")
        data = await shell(connection, "python3 -c 'x = b\"x\" * (8 << 20); print(len(x))'")
        require(data["stdout"] == f"{8 << 20}\n", f"then a small one printed {data['stdout']!r}")


@check(isolating=True)
async def disk_is_limited(subject: Subject) -> None:
    """The workspace takes no more than its size, and works on when room is made."""
    async with subject.running() as (_, connection):
        data = await shell(connection, "head -c 100M /dev/zero > big")
        require("No space left" in data["stderr"], f"it ended in {data}")
        size = int((await shell(connection, "stat -c %s big"))["stdout"])
        require(size <= SMALL.workspace_mb << 20, f"it took {size} bytes")
        data = await shell(connection, "rm big && echo ok > small && cat small")
        require(data["stdout"] == "ok\n", "there is no room afterwards")


@contextmanager
def packages(folder: Path) -> Iterator[str]:
    """A set of packages on this host, with one file; its name."""
    make_folder(folder)
    with TemporaryDirectory(dir=folder) as made:
        Path(made).chmod(0o777)  # so that only the way it is shared keeps it from being changed
        Path(made, PACKAGE_FILE).write_text("print('here')\n")
        yield Path(made).name


@check()
async def packages_of_the_host_are_there(subject: Subject) -> None:
    """Who asks for the host's packages finds them, or is refused where no folder is shared."""
    spec = subject.spec(environments=True)
    layout = subject.engine.layout(spec.name)
    if layout.packages is None:
        try:
            await subject.engine.create(spec)
        except ConfigurationError:
            return
        raise Broken("they were promised, and there are none")
    with packages(layout.packages) as name:
        async with subject.running(environments=True) as (_, connection):
            program = f"{layout.python} {layout.environments}/{name}/{PACKAGE_FILE}"
            data = await shell(connection, program)
    require(data["stdout"] == "here\n", f"running one of them ended in {data}")


@check(isolating=True)
async def packages_cannot_be_changed_or_listed(subject: Subject) -> None:
    """The host's packages are read-only inside, have no list, and are not there unasked."""
    layout = subject.engine.layout(subject.spec().name)
    if layout.packages is None:
        return
    with packages(layout.packages) as name:
        place = f"{layout.environments}/{name}"
        async with subject.running(environments=True) as (_, connection):
            data = await shell(connection, f"rm {place}/{PACKAGE_FILE}")
            require("Read-only" in data["stderr"], f"removing a file ended in {data}")
            data = await shell(connection, f"ls {layout.environments}")
            require("denied" in data["stderr"], f"a list of them ended in {data}")
        async with subject.running() as (_, connection):
            data = await shell(connection, f"cat {place}/{PACKAGE_FILE}")
            require(data["exit_code"] != 0, "they are there though nobody asked")
