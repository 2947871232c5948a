"""Scene: the same from Python, without MCP."""

import asyncio
import sys
from pathlib import Path

from .player import Player

PROGRAM = Path(__file__).resolve().parent.parent / "sdk_quickstart.py"
MAX_LINES = 25


async def play(player: Player) -> None:
    """Shows the program and runs it."""
    stage = player.stage
    source = PROGRAM.read_text("utf-8").strip()
    stage.show(source)
    lines = source.count("\n") + 1
    stage.claim(lines < MAX_LINES, f"the program has {lines} lines")
    stage.call("python", PROGRAM.name)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PROGRAM), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    stage.show(output.decode())
    stage.claim(process.returncode == 0, "it ran to its end")
    stage.claim(b"FAILED (failures=2)" in output, "it saw the tests fail before the edit")
    stage.claim(output.rstrip().endswith(b"OK"), "and pass after it")
