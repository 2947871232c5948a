"""The real command over stdio: a clean wire, and an end that leaves nothing, however it comes."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.mcp_server.processes import ROOT, arguments, descendants, started

END_TIMEOUT_S = 5


def client(state: Path) -> Client:
    """A client of the mcp package, which starts the server itself."""
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "mcp_server", *arguments(state)], cwd=ROOT
    )
    return Client(stdio_client(parameters))


async def test_a_client_works_in_its_sandbox_over_stdio(tmp_path: Path) -> None:
    async with client(tmp_path) as mcp:
        names = [tool.name for tool in (await mcp.list_tools()).tools]
        path = {"path": "notes/hello.txt", "content": "hello\n"}
        written = await mcp.call_tool("filesystem_write", path)
        ran = await mcp.call_tool("terminal_run", {"command": "cat notes/hello.txt; exit 3"})
    assert names[:4] == ["sandbox_create", "sandbox_list", "sandbox_get", "sandbox_end"]
    assert not written.is_error
    assert not ran.is_error
    assert (ran.structured_content["stdout"], ran.structured_content["exit_code"]) == ("hello\n", 3)


async def test_live_output_comes_as_progress_over_stdio(tmp_path: Path) -> None:
    heard: list[str] = []

    async def on_progress(_progress: float, _total: float | None, message: str | None) -> None:
        heard.append(message or "")

    async with client(tmp_path) as mcp:
        command = {"command": "echo one; echo two"}
        await mcp.call_tool("terminal_run", command, progress_callback=on_progress)
    assert "".join(heard) == "one\ntwo\n"


class Wire:
    """The protocol line by line, so that every byte of standard output is seen."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def send(self, method: str, params: dict[str, Any], number: int | None = None) -> None:
        """Writes a request or, without a number, a notification."""
        assert self.process.stdin is not None
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
        if number is not None:
            message["id"] = number
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """The next line; fails if it is no message."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def hello(self) -> dict[str, Any]:
        """Opens the session."""
        hello = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        }
        self.send("initialize", hello, 1)
        answer = self.receive()
        self.send("notifications/initialized", {})
        return answer

    def run_for_ever(self) -> None:
        """Starts a command with two children that never end, one in a session of its own."""
        command = "sleep 1000 & setsid sleep 1000 & echo up; wait"
        call = {
            "name": "terminal_run",
            "arguments": {"command": command, "timeout_s": 600},
            "_meta": {"progressToken": "p"},
        }
        self.send("tools/call", call, 2)
        assert self.receive()["params"]["message"] == "up\n"


def sleepers(server: int) -> list[psutil.Process]:
    """All processes of the server, once both children sleep."""
    deadline = time.monotonic() + END_TIMEOUT_S
    while time.monotonic() < deadline:
        tree = descendants(server)
        if sum(name_of(each) == "sleep" for each in tree) == 2:
            return tree
    raise AssertionError(f"no sleepers among {tree}")


def name_of(process: psutil.Process) -> str:
    """The name of a process that may just end."""
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "SIGHUP", "EOF"])
def test_nothing_is_left_when_the_server_ends(tmp_path: Path, how: str) -> None:
    with started(*arguments(tmp_path)) as process:
        wire = Wire(process)
        wire.hello()
        wire.run_for_ever()
        tree = sleepers(process.pid)
        if how == "EOF":
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
            expected = 0
        else:
            process.send_signal(signal.Signals[how])
            expected = 128 + signal.Signals[how]
        assert process.wait(END_TIMEOUT_S) == expected
        _, left = psutil.wait_procs(tree, timeout=0)
        assert [each for each in left if each.status() != psutil.STATUS_ZOMBIE] == []


def test_tools_are_listed_while_the_group_still_starts(tmp_path: Path) -> None:
    # A state folder that cannot be made: the group never starts, the list comes all the same.
    (tmp_path / "file").write_text("in the way")
    with started(*arguments(tmp_path / "file" / "state")) as process:
        wire = Wire(process)
        answer = wire.hello()
        wire.send("tools/list", {}, 2)
        listed = wire.receive()
        wire.send("tools/call", {"name": "sandbox_list", "arguments": {}}, 3)
        failed = wire.receive()
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
        assert process.wait(END_TIMEOUT_S) == 0
    assert answer["result"]["capabilities"]["tools"]["listChanged"] is True
    assert len(listed["result"]["tools"]) > 10
    assert failed["result"]["isError"] is True


async def test_two_calls_run_at_once(tmp_path: Path) -> None:
    async with client(tmp_path) as mcp:
        first = {"command": "until test -e go; do sleep 0.01; done; echo went", "session": "one"}
        waiting = asyncio.create_task(mcp.call_tool("terminal_run", first))
        second = await mcp.call_tool("terminal_run", {"command": "touch go", "session": "two"})
        result = await waiting
    assert not second.is_error
    assert result.structured_content["stdout"] == "went\n"
