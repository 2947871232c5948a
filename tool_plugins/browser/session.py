"""The browser and the page that is looked at: goes to pages, tells what is on them."""

import asyncio
import re
import time
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Self, TypeVar

from playwright.async_api import (
    Browser,
    BrowserContext,
    Error,
    Locator,
    Page,
    Playwright,
    Response,
    async_playwright,
)
from playwright.async_api import TimeoutError as PlaywrightTimeoutError

from tool_plugins.errors import ErrorCode, ToolError

from . import failing, launching, reading
from .places import Places
from .watching import Watch

WIDTH, HEIGHT = 1280, 800
MAX_URL_CHARS = 2000
MAX_TITLE_CHARS = 300
LOAD_S = 5.0
"""How long to wait for pictures and the like, once a page can be used."""

QUIET_S = 0.25
QUIET_AT_MOST_S = 3.0
PAUSE_S = 0.05
REACT_S = 2.0
# Of the time of a call this much is kept for the snapshot at its end.
RESERVE_S = 5.0
RESERVE_SHARE = 0.25
SNAPSHOT_TRIES = 3
ERROR_PAGE = "chrome-error:"
ERROR_MS = 2000
"""How long Chromium may take to show its page about an error."""

_LEFT_MIDWAY = re.compile("navigat|context was destroyed|detached", re.IGNORECASE)
T = TypeVar("T")


class Session:
    """One browser from its start to the end of its process."""

    def __init__(
        self, playwright: Playwright, browser: Browser, context: BrowserContext, places: Places
    ) -> None:
        self.watch = Watch(context, places)
        self.notes = self.watch.notes
        self._playwright = playwright
        self._browser = browser
        self._context = context
        self._deadline = 0.0
        self._enough = 0.0

    @classmethod
    async def start(cls, places: Places) -> Self:
        """Starts the browser, without a page.

        Raises:
            ToolError: there is none here, or it does not start.
        """
        launching.program()
        warning = await asyncio.to_thread(launching.prepare, places)
        launching.tidy_environment(places)
        try:
            playwright = await async_playwright().start()
            browser = await launching.launch(playwright, places)
            launching.put_first_in_line()
            context = await browser.new_context(
                viewport={"width": WIDTH, "height": HEIGHT}, accept_downloads=True
            )
        except Error as error:
            raise ToolError(
                ErrorCode.INTERNAL,
                f"the browser did not start: {failing.first_line(str(error))}",
                hint="end programs that use much memory, then try again",
                details=dict(failing.RESTART),
            ) from error
        session = cls(playwright, browser, context, places)
        if warning:
            session.notes.add(warning)
        return session

    async def begin(self, deadline: float) -> None:
        """Prepares for a call that must end by `deadline`, a time of `time.monotonic`.

        Raises:
            ToolError: INTERNAL, the browser or its page has crashed meanwhile.
        """
        self._deadline = deadline
        self._enough = deadline - min(RESERVE_S, (deadline - time.monotonic()) * RESERVE_SHARE)
        self.watch.begin()
        if not await self._alive():
            raise failing.crashed()

    async def _alive(self) -> bool:
        """Whether the page, the browser and its driver are all there."""
        if self.watch.crashed or not self._browser.is_connected():
            return False
        with suppress(Error, TimeoutError):
            async with asyncio.timeout(REACT_S):
                await self._context.cookies("http://localhost/")
            return True
        return False

    @property
    def page(self) -> Page:
        """The current page, or a ToolError that says why there is none."""
        return self.watch.page

    @property
    def url(self) -> str:
        """Of the current page."""
        return reading.clean_line(self.page.url, MAX_URL_CHARS)

    def left(self, *, reserve: bool = True) -> float:
        """Milliseconds of the call, less what the snapshot at its end may need."""
        end = self._enough if reserve else self._deadline
        return max(end - time.monotonic(), 0.001) * 1000

    async def visit(self, url: str) -> None:
        """Goes to a URL, and waits until the page can be used.

        Raises:
            ToolError: it cannot be reached.
        """
        if not self.watch.pages:
            await self._context.new_page()
        status, self.watch.status = self.watch.status, None
        downloads = self.watch.downloads.count
        try:
            response = await self._go(url)
        except PlaywrightTimeoutError:
            raise ToolError(
                ErrorCode.TIMEOUT,
                "the page did not begin to arrive in time",
                hint="try again with a longer timeout_s; the server may be slow",
            ) from None
        except Error as error:
            await self._no_visit(url, error, downloads)
            self.watch.status = status  # it was a download: the page is still the one before
            return
        self.watch.status = response.status if response is not None else None
        await self.settle()

    async def _go(self, url: str) -> Response | None:
        try:
            return await self.page.goto(url, wait_until="commit", timeout=self.left())
        except PlaywrightTimeoutError:
            raise
        except Error as error:  # the page before was about to go elsewhere
            if "interrupted by another navigation" not in str(error):
                raise
        await self._loaded("domcontentloaded", min(LOAD_S * 1000, self.left()))
        return await self.page.goto(url, wait_until="commit", timeout=self.left())

    async def _no_visit(self, url: str, error: Error, downloads: int) -> None:
        text = str(error)
        if not await self._alive():
            raise failing.crashed() from None
        if "Download is starting" in text or "ERR_ABORTED" in text:
            if await self.watch.downloads.next_after(downloads, self.left() / 1000):
                return
            raise ToolError(ErrorCode.HTTP_ERROR, "the server sent no page") from None
        name = failing.net_error(text)
        if not name and self.watch.failure is not None:
            url, name = self.watch.failure
        if not name:
            raise await self.failure(error) from None
        with suppress(Error):  # which would break into where one goes next
            await self.page.wait_for_url(f"{ERROR_PAGE}**", wait_until="commit", timeout=ERROR_MS)
        raise await failing.unreachable(url, name, self._deadline) from None

    async def settle(self) -> None:
        """Waits until the page can be used and asks for nothing more, but not for long.

        Raises:
            ToolError: it went to a page that cannot be reached.
        """
        await asyncio.sleep(PAUSE_S)
        await self._loaded("domcontentloaded", self.left())
        await self._loaded("load", min(LOAD_S * 1000, self.left()))
        end = time.monotonic() + min(QUIET_AT_MOST_S, self.left() / 1000)
        quiet = time.monotonic()
        while time.monotonic() < end and time.monotonic() - quiet < QUIET_S:
            await asyncio.sleep(PAUSE_S)
            if self.watch.busy:
                quiet = time.monotonic()
        await self._loaded("domcontentloaded", min(LOAD_S * 1000, self.left()))
        await self._require_a_page()

    async def _loaded(self, state: Any, timeout: float) -> None:
        try:
            await self.page.wait_for_load_state(state, timeout=timeout)
        except PlaywrightTimeoutError:
            self.notes.add("the page has not arrived completely")
        except Error:
            if not await self._alive():
                raise failing.crashed() from None

    async def _require_a_page(self) -> None:
        if self.watch.answer is not None:
            with suppress(Error):
                refused = await failing.refused(self.watch.answer)
                if refused is not None:
                    raise refused
        if self.watch.pages and self.page.url.startswith(ERROR_PAGE):
            url, name = self.watch.failure or ("", "ERR_FAILED")
            raise await failing.unreachable(url, name, self._deadline)

    async def report(
        self,
        *,
        max_chars: int,
        offset: int = 0,
        ref: str | None = None,
        query: str | None = None,
    ) -> dict[str, Any]:
        """The fields of a `PageResult`."""
        if not self.watch.pages and self.notes:
            notes = self.notes.take()
            return {"url": "about:blank", "snapshot": "", "total_chars": 0, "notes": notes}
        text = await self.text()
        if ref is not None:
            found = reading.below(text, ref)
            if found is None:
                raise unknown_ref(ref)
            text = found
        if query is not None:
            text = reading.matching(text, query)
            if not text:
                self.notes.add("nothing in the snapshot holds that text")
        part = reading.part(text, offset, max_chars)
        return {
            "url": self.url,
            "title": reading.clean_line(await self.asked(self.page.title()), MAX_TITLE_CHARS),
            "status": self.watch.status,
            "snapshot": part.text,
            "offset": part.offset,
            "total_chars": part.total,
            "next_offset": part.next_offset,
            "truncated": part.next_offset is not None,
            "notes": self.notes.take(),
        }

    async def text(self) -> str:
        """The snapshot of the whole page."""
        for left in reversed(range(SNAPSHOT_TRIES)):
            try:
                taken = self.page.aria_snapshot(mode="ai", timeout=self.left(reserve=False))
                return reading.clean(await self.asked(taken))
            except Error as error:
                if not left or not _LEFT_MIDWAY.search(str(error)):
                    raise await self.failure(error) from None
            await self._loaded("domcontentloaded", min(LOAD_S * 1000, self.left()))
        raise AssertionError("the last try returns or raises")

    async def asked(self, question: Awaitable[T]) -> T:
        """What the page answers. One that never does is stuck in a program of its own.

        Raises:
            ToolError: TIMEOUT; the browser is to be closed.
        """
        try:
            async with asyncio.timeout(self.left(reserve=False) / 1000):
                return await question
        except (TimeoutError, PlaywrightTimeoutError):
            raise failing.stuck("the page does not react") from None

    async def reacts(self) -> bool:
        """Whether the page still does anything."""
        with suppress(Error, TimeoutError):
            async with asyncio.timeout(REACT_S):
                await self.page.evaluate("1")
            return True
        return False

    async def element(self, ref: str) -> Locator:
        """The element of a reference.

        Raises:
            ToolError: NOT_FOUND, the last snapshot has none of that name, or it is gone.
        """
        locator = self.page.get_by_ref(ref)
        try:
            if await self.asked(locator.count()):
                return locator
        except Error as error:
            if not await self._alive():
                raise await self.failure(error) from None
        raise unknown_ref(ref)

    async def close_tab(self) -> bool:
        """Closes the current page if another is open behind it; False if there is none."""
        if len(self.watch.pages) < 2:
            return False
        await self.asked(self.page.close())
        return True

    async def failure(self, error: Error) -> ToolError:
        """What to tell of something that playwright could not do."""
        if not await self._alive():
            return failing.crashed()
        return ToolError(ErrorCode.INTERNAL, failing.first_line(str(error)))


def unknown_ref(ref: str) -> ToolError:
    """A reference that the page does not have."""
    return ToolError(
        ErrorCode.NOT_FOUND,
        f"the page has no element {ref!r}",
        hint="take a new snapshot with browser_snapshot: references change when the page does",
    )
