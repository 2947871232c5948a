"""A client with a server of its own, that sells a teapot and never says whether that holds.

    python -m examples.demo.seller FOLDER ARGUMENT...    arguments of `sandbox-mcp serve`

Prints one line of JSON when its transaction is open, and waits to be killed.
"""

import asyncio
import json
import os
import sys

from mcp import Client
from mcp.client.stdio import stdio_client

from .servers import server
from .shop import SALE, STATE_OF_SALE, URL_VARIABLE


async def sell(folder: str, arguments: list[str]) -> None:
    """Sells in a transaction that stays open."""
    asked_for = {name: os.environ[name] for name in (URL_VARIABLE,) if name in os.environ}
    async with Client(stdio_client(server(folder, *arguments, **asked_for))) as client:

        async def call(tool: str, **given: object) -> dict:
            result = await client.call_tool(tool, given)
            if result.is_error or result.structured_content is None:
                raise RuntimeError(f"{tool} failed: {result.content}")
            return result.structured_content

        begun = await call("database_begin", database="shop")
        mine = {"database": "shop", "transaction_id": begun["transaction_id"]}
        await call("database_execute", statements=SALE, **mine)
        seen = await call("database_query", query=STATE_OF_SALE, **mine)
        sandboxes = (await call("sandbox_list"))["sandboxes"]
        news = {"sees": seen["rows"][0], "sandboxes": [each["sandbox_id"] for each in sandboxes]}
        print(json.dumps(news), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(sell(sys.argv[1], sys.argv[2:]))
