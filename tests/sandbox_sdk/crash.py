"""A server that dies at a given step, as by `kill -9`. Run as a program by `test_recovery.py`."""

import asyncio
import os
import sys
from pathlib import Path

from container_runtime.engine import load_engine
from sandbox_sdk import SandboxGroup
from tests.fakes import WrappedEngine

POINTS = ["create", "created", "start", "started", "ready", "remove", "removed"]


async def die() -> None:
    os._exit(9)


async def main(engine_name: str, folder: str, point: str, durable: str) -> None:
    engine = WrappedEngine(load_engine(engine_name, state_dir=Path(folder)))
    engine.hooks[point] = die
    group = SandboxGroup(engine=engine, state_dir=folder, ephemeral=durable != "durable")
    await group.start_sandbox_group()
    sandbox = await group.create_sandbox("work")
    print(sandbox.id, flush=True)
    await sandbox.start()
    await sandbox.filesystem.write("note.txt", "still here")
    if point == "ready":
        await group.sweep()
        os._exit(9)
    await sandbox.end()
    await group.end_group()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
