"""Two users in one container: what the agent cannot do to the action server, and what it can."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from container_runtime.connection import Connection
from container_runtime.engine import load_engine
from container_runtime.spec import ContainerSpec
from tool_plugins.contract import Action
from tool_plugins.errors import ToolError

pytestmark = pytest.mark.docker

AGENT = 212_345
KEPT = 1 << 5 | 1 << 6 | 1 << 7  # KILL, SETGID, SETUID

# Runs as the agent. Tries everything on the server, on PID 1 and, as the accepted twin, on a child.
PROBE = r"""
import ctypes, json, os, resource, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)

class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result

def read_memory(pid):
    buffer = ctypes.create_string_buffer(8)
    where = int(open(f"/proc/{pid}/maps").readline().split("-")[0], 16)
    here, there = Vector(ctypes.addressof(buffer), 8), Vector(where, 8)
    checked(libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0))

ATTEMPTS = {
    "signal": lambda pid: os.kill(pid, 0),
    "environ": lambda pid: open(f"/proc/{pid}/environ", "rb").read(1),
    "mem": lambda pid: open(f"/proc/{pid}/mem", "rb").close(),
    "maps": lambda pid: open(f"/proc/{pid}/maps").read(1),
    "fd": lambda pid: os.listdir(f"/proc/{pid}/fd"),
    "cwd": lambda pid: os.readlink(f"/proc/{pid}/cwd"),
    "root": lambda pid: os.readlink(f"/proc/{pid}/root"),
    "process_vm_readv": read_memory,
    "ptrace": lambda pid: checked(libc.ptrace(0x4206, pid, None, None)),
    "oom_score_adj": lambda pid: open(f"/proc/{pid}/oom_score_adj", "w").write("1000"),
    "prlimit": lambda pid: resource.prlimit(pid, resource.RLIMIT_NOFILE, (64, 64)),
    "affinity": lambda pid: os.sched_setaffinity(pid, {0}),
    "priority": lambda pid: os.setpriority(os.PRIO_PROCESS, pid, 19),
}

def attempts(pid):
    allowed = []
    for name, attempt in ATTEMPTS.items():
        try:
            attempt(pid)
        except OSError:
            continue
        allowed.append(name)
    return allowed

def status(pid, thread=None):
    path = f"/proc/{pid}/status" if thread is None else f"/proc/{pid}/task/{thread}/status"
    return dict(line.rstrip("\n").split(":\t", 1) for line in open(path) if ":\t" in line)

def is_server(pid):
    words = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
    return words[0].endswith(b"python3") and b"/opt/sandbox/start.py" in words

server = next(int(p) for p in os.listdir("/proc") if p.isdigit() and is_server(p))
child = subprocess.Popen(["sleep", "60"], start_new_session=True)
found = {
    "server": attempts(server), "init": attempts(1), "own": attempts(child.pid),
    "agent": status("self"), "server_status": status(server),
    "threads": [status(server, t)["Uid"] for t in os.listdir(f"/proc/{server}/task")],
    "environment": [name for name in os.environ if name.startswith("SANDBOX")],
    "oom_score_adj": [int(open(f"/proc/{p}/oom_score_adj").read()) for p in ("self", server)],
}
child.kill()
for name, call in {
    "setuid": lambda: os.setuid(0), "setgid": lambda: os.setgid(0),
    "setgroups": lambda: os.setgroups([]), "control": lambda: os.listdir("/run/sandbox/control"),
}.items():
    try:
        call()
        found[name] = True
    except OSError:
        found[name] = False
print(json.dumps(found))
"""


@pytest.fixture(params=["unix", "tcp"])
async def connection(
    request: pytest.FixtureRequest, needs_docker: None, docker_state_dir: Path
) -> AsyncIterator[Connection]:
    """A real sandbox, over either kind of endpoint."""
    settings: dict[str, Any] = {"endpoint": request.param}
    async with load_engine("docker", state_dir=docker_state_dir, **settings) as engine:
        await engine.ensure_image(print)
        container = await engine.create(ContainerSpec(name="sbx-identity", agent_uid=AGENT))
        try:
            await container.start()
            async with Connection(container.endpoint) as made:
                await made.ready()
                yield made
        finally:
            await engine.remove("sbx-identity")


async def run(connection: Connection, command: str, **more: object) -> dict[str, Any]:
    """What a command of the agent printed and how it ended."""
    action = Action(tool="terminal.run", args={"command": command, **more})
    observation = await connection.execute(action, timeout_s=60)
    assert observation.data is not None, observation.error
    return observation.data


async def test_the_agent_has_no_power_over_the_server(connection: Connection) -> None:
    # A blocking tool first, so that the server has worker threads to look at.
    await connection.upload("probe.py", PROBE.encode())

    found = json.loads((await run(connection, "python3 probe.py"))["stdout"])

    assert found["server"] == []
    assert found["init"] == []
    # ptrace and process_vm_readv are refused by the system call filter, whoever the target is.
    assert {"signal", "environ", "mem", "maps", "fd", "prlimit", "priority"} <= set(found["own"])
    assert not any(found[name] for name in ("setuid", "setgid", "setgroups", "control"))
    assert found["environment"] == []

    agent, server = found["agent"], found["server_status"]
    assert agent["Uid"].split() == agent["Gid"].split() == [str(AGENT)] * 4
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(agent[name], 16) == 0
    assert (agent["NoNewPrivs"], agent["Seccomp"]) == ("1", "2")

    *own, files = server["Uid"].split()
    assert len(set(own)) == 1
    assert not {"0", str(AGENT)} & set(own)
    assert files == server["Gid"].split()[3] == str(AGENT)
    assert len(found["threads"]) > 1
    assert set(found["threads"]) == {server["Uid"]}
    assert int(server["CapEff"], 16) == int(server["CapPrm"], 16) == KEPT
    assert int(server["CapBnd"], 16) == int(server["CapInh"], 16) == int(server["CapAmb"], 16) == 0
    assert found["oom_score_adj"][0] > found["oom_score_adj"][1]


async def test_what_the_server_writes_belongs_to_the_agent(connection: Connection) -> None:
    await connection.upload("sent/file", b"x")
    await connection.execute(
        Action(tool="filesystem.write", args={"path": "made/file", "content": "x"}), timeout_s=20
    )

    listing = await run(connection, "stat -c '%u:%g' sent sent/file made made/file")

    assert listing["stdout"].split() == [f"{AGENT}:{AGENT}"] * 4


async def test_the_server_touches_only_what_the_agent_may(connection: Connection) -> None:
    # A server with root's rights, or with its own user's on this file, would not be stopped.
    await run(connection, "mkdir locked && echo secret > locked/file && chmod 0 locked/file")

    with pytest.raises(ToolError) as caught:
        _ = [piece async for piece in connection.download("locked/file")]

    assert caught.value.code == "PERMISSION_DENIED"


async def test_the_server_can_end_what_the_agent_started(connection: Connection) -> None:
    stubborn = "trap '' TERM INT HUP; (setsid sleep 321 &) ; sleep 321"

    ended = await run(connection, stubborn, timeout_s=1)
    left = await run(connection, "pgrep -c -f 'sleep 32[1]' || true")

    assert ended["status"] == "timed_out"
    assert left["stdout"].strip() == "0"
