"""Pictures of the page, of a size that can be handed on."""

import base64
from typing import Any

from playwright.async_api import Error
from playwright.async_api import TimeoutError as PlaywrightTimeoutError

from tool_plugins.errors import ErrorCode, ToolError

from .session import WIDTH, Session

MAX_BYTES = 4 * 1024 * 1024
MAX_HEIGHT = 8_000
"""Pixels of a picture: a taller page is cut, since its picture takes 5 MB of memory for each
thousand."""

MAX_WIDTH = 4_000
SHRINKS = 4
SIZE = """() => { const e = document.documentElement, b = document.body || e;
  return [Math.max(e.scrollWidth, b.scrollWidth), Math.max(e.scrollHeight, b.scrollHeight)]; }"""


async def take(session: Session, *, ref: str | None = None, full_page: bool = False) -> str:
    """A PNG in base64, of the window, the whole page or one element; smaller if it is too large.

    Raises:
        ToolError: the element is not there or not to be seen.
    """
    page = session.page
    clip: dict[str, float] | None = None
    if ref is not None:
        clip = await _box(session, ref)
    elif full_page:
        width, height = await _page_size(session)
        clip = {"x": 0, "y": 0, "width": width, "height": height}
    timeout = session.left(reserve=False)
    try:
        data: bytes = await session.asked(
            page.screenshot(clip=clip, full_page=clip is not None, timeout=timeout)  # pyright: ignore[reportArgumentType]
        )
        if len(data) <= MAX_BYTES:
            return base64.b64encode(data).decode()
        return await _smaller(session, clip, len(data))
    except PlaywrightTimeoutError:
        raise ToolError(ErrorCode.TIMEOUT, "the picture was not ready in time") from None
    except Error as error:
        raise session.failure(error) from None


async def _box(session: Session, ref: str) -> dict[str, float]:
    element = await session.element(ref)
    try:
        await element.scroll_into_view_if_needed(timeout=session.left())
        box = await session.asked(element.bounding_box())
    except Error:
        box = None
    if box is None or not box["width"] or not box["height"]:
        raise ToolError(
            ErrorCode.CONFLICT,
            f"the element {ref!r} is not visible",
            hint="open or scroll to what it is in",
        )
    shift: Any = await session.asked(session.page.evaluate("[scrollX, scrollY]"))
    return {
        "x": max(0.0, box["x"] + float(shift[0])),
        "y": max(0.0, box["y"] + float(shift[1])),
        "width": min(box["width"], MAX_WIDTH),
        "height": min(box["height"], MAX_HEIGHT),
    }


async def _page_size(session: Session) -> tuple[float, float]:
    found: Any = await session.asked(session.page.evaluate(SIZE))
    width, height = (float(each) for each in found)
    return min(max(width, WIDTH), MAX_WIDTH), min(max(height, 1), MAX_HEIGHT)


async def _smaller(session: Session, clip: dict[str, float] | None, size: int) -> str:
    """Takes it again, scaled down by the browser. A PNG shrinks about as its area does."""
    page = session.page
    if clip is None:
        found: Any = await session.asked(
            page.evaluate("[scrollX, scrollY, innerWidth, innerHeight]")
        )
        clip = dict(zip(("x", "y", "width", "height"), map(float, found), strict=True))
    protocol = await page.context.new_cdp_session(page)
    scale = 1.0
    for _ in range(SHRINKS):
        scale *= 0.9 * (MAX_BYTES / size) ** 0.5
        taken = protocol.send(
            "Page.captureScreenshot",
            {"format": "png", "captureBeyondViewport": True, "clip": clip | {"scale": scale}},
        )
        image: str = (await session.asked(taken))["data"]
        size = len(image) * 3 // 4
        if size <= MAX_BYTES:
            return image
    raise ToolError(
        ErrorCode.TOO_LARGE,
        f"the picture is larger than {MAX_BYTES // 1024**2} MB however small it is drawn",
        hint="take one of an element, with its ref",
    )
