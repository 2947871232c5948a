"""Checks the links of a document, through the web tools of the sandbox."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tool_plugins.authoring import AsyncContext, ToolError

URL = re.compile(r"https?://[^\s<>\"'()\[\]]+[^\s<>\"'()\[\].,;:!?]")
AT_ONCE = 4


@dataclass
class Link:
    """What became of one link. `reason` says why it is not good."""

    url: str
    status: Literal["good", "broken", "not allowed"]
    reason: str = ""


async def check(path: str, *, max_links: int = 50, ctx: AsyncContext) -> list[Link]:
    """Fetches each link of a text file, and says which of them lead nowhere.

    What the sandbox may not reach is told apart from what is broken.

    Args:
        path: A text file of the workspace, such as README.md.
        max_links: More links than these are left out.
    """
    text = await asyncio.to_thread(Path(path).read_text, "utf-8", "replace")
    urls = list(dict.fromkeys(URL.findall(text)))[:max_links]
    places = asyncio.Semaphore(AT_ONCE)
    done = 0

    async def look(url: str) -> Link:
        nonlocal done
        async with places:
            link = await _look(url, ctx)
        done += 1
        ctx.progress(done, len(urls), url)
        return link

    ctx.log(f"{path} has {len(urls)} links")
    return list(await asyncio.gather(*map(look, urls)))


async def _look(url: str, ctx: AsyncContext) -> Link:
    try:
        await ctx.web.fetch(url, max_chars=100)
    except ToolError as error:
        if error.code in ("EGRESS_DENIED", "UNKNOWN_TOOL"):
            return Link(url, "not allowed", error.message)
        # The page is there, whatever it holds.
        if error.code not in ("UNSUPPORTED_CONTENT", "TOO_LARGE"):
            return Link(url, "broken", error.message)
    return Link(url, "good")
