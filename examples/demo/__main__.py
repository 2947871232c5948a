"""Starts the installed server as an MCP client does, plays every scene, and says how it went.

Ends with exit code 1 when a step does not show what it claims.
"""

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from typing import TextIO

from mcp import Client
from mcp.client.stdio import stdio_client

from . import custom, databases, quickstart, repair, runaway, streaming, tools, web
from .player import Clock, Player
from .servers import containers, server
from .stage import DemoError, Stage

Scene = Callable[[Player], Awaitable[None]]

SCENES: tuple[tuple[str, Scene], ...] = (
    ("The tools", tools.play),
    ("A program with a bug", repair.play),
    ("Live output of a long command", streaming.play),
    ("A command that never ends", runaway.play),
    ("A database, and what is not allowed there", databases.play),
    ("The web, and what may not leave", web.play),
    ("Tools of your own", custom.play),
    ("The same from Python", quickstart.play),
)
SCENE_TIMEOUT_S = 120


async def play(stage: Stage, log: TextIO) -> None:
    """Plays every scene over one connection, then looks for what may be left of it."""
    with tempfile.TemporaryDirectory() as folder:
        async with Client(stdio_client(server(folder), errlog=log)) as client:
            player = Player(client, stage, log)
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
    except Exception as error:
        if isinstance(_cause(error), DemoError):
            player.stage.say(f"The last answer was: {player.answer}")
        raise


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
