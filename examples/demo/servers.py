"""Starts the installed MCP server as a client does, and finds what it may leave."""

import os
import sys
from contextlib import closing
from pathlib import Path

import docker
from mcp import StdioServerParameters

# An MCP client starts its servers with few variables. These say where the engine and the state are.
PASSED_ON = ("DOCKER_", "SANDBOX_", "XDG_")


def server(folder: str, *arguments: str, **variables: str) -> StdioServerParameters:
    """The installed command, started from a folder that is not the checkout."""
    passed_on = {name: text for name, text in os.environ.items() if name.startswith(PASSED_ON)}
    return StdioServerParameters(
        command=str(Path(sys.executable).with_name("sandbox-mcp")),
        args=["serve", *arguments],
        env=passed_on | variables,
        cwd=folder,
    )


def containers() -> set[str]:
    """The names of all containers on the engine."""
    with closing(docker.from_env()) as engine:
        return {container.name or "" for container in engine.containers.list(all=True)}


def children(pid: int) -> set[int]:
    """The processes that a process started and that are still its own, on Linux."""
    try:
        return {int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except FileNotFoundError:
        return set()


def descendants(pid: int) -> set[int]:
    """Its children, theirs, and so on."""
    found = children(pid)
    return found.union(*(descendants(child) for child in found))


def running(pids: set[int]) -> set[int]:
    """Those of the processes that still run."""
    return {pid for pid in pids if _state(pid) not in ("gone", "Z")}


def _state(pid: int) -> str:
    """The kernel's letter for the state of a process, or "gone"."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "gone"
