"""Pictures of the page: one to be looked at, and on demand a better one for a file."""

import base64
from typing import Any

from playwright.async_api import Error
from playwright.async_api import TimeoutError as PlaywrightTimeoutError

from tool_plugins.errors import ErrorCode, ToolError

from .session import WIDTH, Session

MAX_SHOWN_BYTES = 500_000
"""Of the picture in an answer: MCP clients drop events of a megabyte, and base64 adds a third."""

MAX_FILE_BYTES = 8 * 1024 * 1024
MAX_HEIGHT = 8_000
"""Pixels. A taller page is cut: its picture takes 5 MB of memory for each thousand."""

MAX_WIDTH = 4_000
JPEG_QUALITY = 80
SHRINKS = 6
SIZE = """() => { const e = document.documentElement, b = document.body || e;
  return [Math.max(e.scrollWidth, b.scrollWidth), Math.max(e.scrollHeight, b.scrollHeight)]; }"""
WINDOW = "() => [scrollX, scrollY, innerWidth, innerHeight]"

Clip = dict[str, float]


async def take(
    session: Session, *, ref: str | None = None, full_page: bool = False, file: bool = False
) -> dict[str, Any]:
    """A picture of the window, the whole page or one element.

    `image` is the one to be looked at, in base64 and of the type `mime_type`: a PNG, or a JPEG
    where that would be too large. `file` is a PNG in base64. `width` and `height` are the image's.

    Raises:
        ToolError: the element is not there or not to be seen.
    """
    try:
        return await _take(session, await _clip(session, ref, full_page), file)
    except PlaywrightTimeoutError:
        raise ToolError(ErrorCode.TIMEOUT, "the picture was not ready in time") from None
    except Error as error:
        raise await session.failure(error) from None


async def _take(session: Session, clip: Clip, file: bool) -> dict[str, Any]:
    size = {"width": round(clip["width"]), "height": round(clip["height"])}
    timeout = session.left(reserve=False)
    whole: Any = {"clip": clip, "full_page": True, "timeout": timeout}
    png: bytes = await session.asked(session.page.screenshot(**whole))
    found: dict[str, Any] = {"url": session.url, "mime_type": "image/png", **size}
    if file:
        small = png
        if len(png) > MAX_FILE_BYTES:
            small, _ = await _shrunk(session, clip, png, "png")
        found["file"] = base64.b64encode(small).decode()
    if len(png) <= MAX_SHOWN_BYTES:
        return found | {"image": base64.b64encode(png).decode()}
    jpeg: bytes = await session.asked(
        session.page.screenshot(type="jpeg", quality=JPEG_QUALITY, **whole)
    )
    scale = 1.0
    if len(jpeg) > MAX_SHOWN_BYTES:
        jpeg, scale = await _shrunk(session, clip, jpeg, "jpeg")
    size = {name: max(1, round(pixels * scale)) for name, pixels in size.items()}
    image = base64.b64encode(jpeg).decode()
    return found | {"mime_type": "image/jpeg", "image": image, **size}


async def _clip(session: Session, ref: str | None, full_page: bool) -> Clip:
    """What to draw, in the coordinates of the page."""
    if ref is not None:
        return await _box(session, ref)
    if full_page:
        width, height = await _numbers(session, SIZE)
        return _rectangle(0, 0, max(width, WIDTH), max(height, 1))
    return _rectangle(*await _numbers(session, WINDOW))


async def _box(session: Session, ref: str) -> Clip:
    element = await session.element(ref)
    try:
        await element.scroll_into_view_if_needed(timeout=session.left())
        box = await session.asked(element.bounding_box())
    except Error:
        box = None
    if box is None or box["width"] < 1 or box["height"] < 1:
        raise ToolError(
            ErrorCode.CONFLICT,
            f"the element {ref!r} is not visible",
            hint="open or scroll to what it is in",
        )
    left, top, _, _ = await _numbers(session, WINDOW)
    return _rectangle(box["x"] + left, box["y"] + top, box["width"], box["height"])


def _rectangle(left: float, top: float, width: float, height: float) -> Clip:
    size = {"width": min(width, MAX_WIDTH), "height": min(height, MAX_HEIGHT)}
    return {"x": max(0.0, left), "y": max(0.0, top), **size}


async def _numbers(session: Session, script: str) -> list[float]:
    found: Any = await session.asked(session.page.evaluate(script))
    return [float(each) for each in found]


async def _shrunk(session: Session, clip: Clip, image: bytes, kind: str) -> tuple[bytes, float]:
    """Takes it again, scaled down by the browser; the image and its scale."""
    limit = MAX_FILE_BYTES if kind == "png" else MAX_SHOWN_BYTES
    protocol = await session.page.context.new_cdp_session(session.page)
    quality = {} if kind == "png" else {"quality": JPEG_QUALITY}
    scale = 1.0
    try:
        for _ in range(SHRINKS):
            # Images shrink about as their areas do.
            scale *= 0.9 * (limit / len(image)) ** 0.5
            scaled = {"format": kind, **quality, "clip": clip | {"scale": scale}}
            asked = protocol.send(
                "Page.captureScreenshot", scaled | {"captureBeyondViewport": True}
            )
            image = base64.b64decode((await session.asked(asked))["data"])
            if len(image) <= limit:
                return image, scale
    finally:
        await protocol.detach()
    raise ToolError(
        ErrorCode.TOO_LARGE,
        "the picture is too large however small it is drawn",
        hint="take one of an element, with its ref",
    )
