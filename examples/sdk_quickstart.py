"""The repair of examples/shop from Python: upload, test, edit, test again."""

import asyncio
from pathlib import Path

from sandbox_sdk import SandboxGroup

SHOP = Path(__file__).parent / "shop"
EDIT = {"old": "cents * percent // 100", "new": "(cents * percent + 50) // 100"}


async def main() -> None:
    async with SandboxGroup() as group, await group.create_sandbox() as sandbox:
        await sandbox.upload_folder(SHOP, "shop")
        failing = await sandbox.terminal.run("cd shop && python3 -m unittest")
        print(failing.stderr.splitlines()[-1])
        edited = await sandbox.filesystem.edit("shop/shop/money.py", edits=[EDIT])
        print(edited.diff)
        async for event in sandbox.terminal.stream("python3 -m unittest"):
            print(getattr(event, "text", ""), end="")


asyncio.run(main())
