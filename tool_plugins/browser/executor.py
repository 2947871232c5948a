"""The browser tools by verb. Imported inside the container only; the work is done in `program.py`.

One browser per sandbox, in a worker process of its own. Ending that process ends the browser and
all that it started, so that is how it is closed, and what is done with one that hangs.
"""

import asyncio
import base64
import binascii
import shutil
from typing import Any

from tool_plugins.context import Host, ToolContext
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.filesystem.saving import write
from tool_plugins.web.url import parse_url
from tool_plugins.worker.pool import WorkerPool

from .places import Places
from .room import require_room

IDLE_S = 1800.0
"""A browser that nobody asks for anything is closed after this long."""

GRACE_S = 5.0
"""A worker that keeps to its deadline has this much longer to say so before it is killed."""

CLOSE_S = 10.0
MAX_IMAGE_CHARS = 12 * 1024 * 1024
RESTART = "restart"
"""In the details of a worker's error: the browser is of no use any more."""

IMAGES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


class Browser(WorkerPool):
    """The process that holds the browser."""

    def __init__(self, host: Host) -> None:
        super().__init__(
            host, "tool_plugins.browser.program", size=1, idle_s=IDLE_S, memory_mb=None
        )
        self._places = Places(host.workspace, host.tmp)

    async def ask(self, verb: str, arguments: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """What the browser gives; it is ended where the answer says that it must be."""
        if not self.running:
            require_room()
        request = arguments | {"timeout_s": timeout_s, "places": self._places.as_dict()}
        try:
            return await self.call(verb, request, timeout_s=timeout_s, grace_s=GRACE_S)
        except ToolError as error:
            if error.details.pop(RESTART, False) or not self.running:
                await self.end()
            raise

    async def end(self) -> bool:
        """Ends the browser and removes what it kept on disk; whether there was one."""
        was_there = self.running
        await self.reset()
        for folder in self._places.passing:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return was_there


async def open_page(
    context: ToolContext, *, timeout_s: float = 60.0, **arguments: Any
) -> dict[str, Any]:
    """Opens a URL: nothing but http and https, written in the one way that all read alike."""
    parse_url(arguments["url"])
    return await context.host.service(Browser).ask("open", arguments, timeout_s)


async def snapshot(
    context: ToolContext, *, timeout_s: float = 30.0, **arguments: Any
) -> dict[str, Any]:
    """Reads the page as it is."""
    return await _open_browser(context).ask("snapshot", arguments, timeout_s)


async def act(context: ToolContext, *, timeout_s: float = 30.0, **arguments: Any) -> dict[str, Any]:
    """Operates the page."""
    return await _open_browser(context).ask("act", arguments, timeout_s)


async def screenshot(
    context: ToolContext, *, path: str | None = None, timeout_s: float = 30.0, **arguments: Any
) -> dict[str, Any]:
    """Takes a picture, attaches it, and writes it to a file where one is named."""
    request = arguments | {"file": path is not None}
    data = await _open_browser(context).ask("screenshot", request, timeout_s)
    mime_type, image = _image(data.get("image"))
    saved = None
    if path is not None:
        written = await asyncio.to_thread(
            write,
            context,
            path=path,
            content=_image(data.get("file"))[1],
            mode="overwrite",
            encoding="base64",
        )
        saved = written["path"]
    context.attach(mime_type, image)
    return {name: data.get(name) for name in ("url", "width", "height")} | {"path": saved}


async def close(context: ToolContext) -> dict[str, Any]:
    """Closes the browser."""
    async with asyncio.timeout(CLOSE_S):
        return {"closed": await context.host.service(Browser).end()}


def _open_browser(context: ToolContext) -> Browser:
    browser = context.host.service(Browser)
    if not browser.running:
        raise ToolError(
            ErrorCode.NOT_FOUND,
            "no page is open",
            hint=f"open one with browser_open; the browser closes after {IDLE_S / 60:g} idle "
            "minutes",
        )
    return browser


def _image(text: Any) -> tuple[str, str]:
    """Type and text of an image in base64. The worker is not trusted to have sent one."""
    try:
        if not isinstance(text, str) or len(text) > MAX_IMAGE_CHARS:
            raise ValueError("too long, or no text")
        data = base64.b64decode(text, validate=True)
        return next(kind for magic, kind in IMAGES.items() if data.startswith(magic)), text
    except (ValueError, binascii.Error, StopIteration):
        raise ToolError(ErrorCode.INTERNAL, "the browser gave no image") from None


EXECUTORS = {
    "open": open_page,
    "snapshot": snapshot,
    "act": act,
    "screenshot": screenshot,
    "close": close,
}
