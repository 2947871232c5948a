"""stdio: one client, one process. Standard output carries the protocol and nothing else."""

import asyncio

from mcp.server.stdio import stdio_server

from .server import SandboxServer


async def serve_stdio(server: SandboxServer, stop: asyncio.Event) -> None:
    """Serves until the client closes our input or `stop` is set, then ends every sandbox.

    The thread that reads standard input cannot be woken; the process must end by `os._exit`.
    """
    server.door.open()
    serving = asyncio.create_task(_serve(server))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    server.stop_serving()
    await server.door.close()
    if serving.done():
        serving.result()


async def _serve(server: SandboxServer) -> None:
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())
