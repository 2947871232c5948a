"""Starts the installed server as an MCP client does, plays every scene, and says how it went.

Ends with exit code 1 when a step does not show what it claims.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import TextIO

import docker
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from . import quickstart, repair, runaway, streaming, tools
from .player import Clock, Player
from .stage import DemoError, Stage

Scene = Callable[[Player], Awaitable[None]]

SCENES: tuple[tuple[str, Scene], ...] = (
    ("The tools", tools.play),
    ("A program with a bug", repair.play),
    ("Live output of a long command", streaming.play),
    ("A command that never ends", runaway.play),
    ("The same from Python", quickstart.play),
)
SCENE_TIMEOUT_S = 120
# An MCP client starts its servers with few variables. These say where the engine and the state are.
PASSED_ON = ("DOCKER_", "SANDBOX_", "XDG_")


def server(folder: str) -> StdioServerParameters:
    """The installed command, started from a folder that is not the checkout."""
    return StdioServerParameters(
        command=str(Path(sys.executable).with_name("sandbox-mcp")),
        args=["serve"],
        env={name: text for name, text in os.environ.items() if name.startswith(PASSED_ON)},
        cwd=folder,
    )


async def play(stage: Stage, log: TextIO) -> None:
    """Plays every scene over one connection, then looks for what may be left of it."""
    with tempfile.TemporaryDirectory() as folder:
        async with Client(stdio_client(server(folder), errlog=log)) as client:
            player = Player(client, stage)
            for number, (title, scene) in enumerate(SCENES, start=1):
                stage.title(f"{number}. {title}")
                await play_scene(player, scene)
            mine = {each["sandbox_id"] for each in (await player.call("sandbox_list"))["sandboxes"]}
    stage.title("The end")
    stage.say("The client hung up, so the server has ended. What is left of its sandbox?")
    stage.claim(mine and not mine & containers(), "no container of it")


async def play_scene(player: Player, scene: Scene) -> None:
    """Plays one scene; a claim that does not hold is shown with the answer it was made of."""
    try:
        async with asyncio.timeout(SCENE_TIMEOUT_S):
            await scene(player)
    except DemoError:
        player.stage.say(f"The last answer was: {player.answer}")
        raise


def containers() -> set[str]:
    """The names of all containers on the engine."""
    with closing(docker.from_env()) as engine:
        return {container.name or "" for container in engine.containers.list(all=True)}


def main() -> int:
    """Runs the demo."""
    stage, clock = Stage(), Clock()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        try:
            asyncio.run(play(stage, log))
        except Exception as error:
            log.seek(0)
            print(f"\nThe demo failed: {_cause(error)!r}\nThe server's log:\n{log.read()}")
            return 1
    print(f"\nAll {stage.claims} claims were shown to hold, in {clock.seconds:.0f} s.")
    return 0


def _cause(error: BaseException) -> BaseException:
    """The first real error inside the groups that task groups wrap around it."""
    while isinstance(error, BaseExceptionGroup) and not isinstance(error, DemoError):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    sys.exit(main())
