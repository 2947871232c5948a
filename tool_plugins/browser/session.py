"""The browser and the page that is looked at: goes to pages, tells what is on them.

A new tab becomes the current page; when it closes, the one before it does.
"""

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
    Frame,
    Locator,
    Page,
    Playwright,
    Request,
    Response,
    async_playwright,
)
from playwright.async_api import TimeoutError as PlaywrightTimeoutError

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.web.url import parse_url

from . import failing, launching, reading
from .arriving import Downloads
from .notes import Notes
from .places import Places

WIDTH, HEIGHT = 1280, 800
MAX_PAGES = 5
ERROR_PAGE = "chrome-error:"
ERROR_MS = 2000
"""How long Chromium may take to show its page about an error."""

MAX_URL_CHARS = 2000
MAX_TITLE_CHARS = 300
LOAD_S = 5.0
"""How long to wait for pictures and the like, once a page can be used."""

QUIET_S = 0.25
QUIET_AT_MOST_S = 3.0
PAUSE_S = 0.05
# Of the time of a call this much is kept for the snapshot at its end.
RESERVE_S = 5.0
RESERVE_SHARE = 0.25
SNAPSHOT_TRIES = 3
MAX_FOLLOWED = 500
FOLLOWED = frozenset({"document", "fetch", "script", "stylesheet", "xhr"})
_LEFT_MIDWAY = re.compile("navigat|context was destroyed|detached", re.IGNORECASE)
T = TypeVar("T")


class Session:
    """One browser from its start to the end of its process."""

    def __init__(
        self, playwright: Playwright, browser: Browser, context: BrowserContext, places: Places
    ) -> None:
        self.notes = Notes()
        self.deadline = 0.0
        self._playwright = playwright
        self._browser = browser
        self._context = context
        self._downloads = Downloads(places, self.notes)
        self._pages: list[Page] = []
        self._crashed = False
        self._running: set[Request] = set()
        self._status: int | None = None
        self._answer: Response | None = None
        self._failure: tuple[str, str] | None = None

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
        session._listen()
        if warning:
            session.notes.add(warning)
        return session

    def begin(self, deadline: float) -> None:
        """Prepares for a call that must end by `deadline`, a time of `time.monotonic`."""
        self.deadline = deadline
        self._failure = None
        self._answer = None
        if not self._browser.is_connected() or self._crashed:
            raise failing.crashed()

    @property
    def page(self) -> Page:
        """The current page.

        Raises:
            ToolError: NOT_FOUND, there is none; INTERNAL, it crashed.
        """
        if self._crashed:
            raise failing.crashed()
        if not self._pages:
            raise failing.no_page()
        return self._pages[-1]

    @property
    def url(self) -> str:
        """Of the current page."""
        return reading.clean_line(self.page.url, MAX_URL_CHARS)

    def left(self, *, reserve: bool = True) -> float:
        """Milliseconds of the call, less what the snapshot at its end may need."""
        left = self.deadline - time.monotonic()
        if reserve:
            left -= min(RESERVE_S, left * RESERVE_SHARE)
        return max(left, 0.001) * 1000

    async def visit(self, url: str) -> None:
        """Goes to a URL, and waits until the page can be used.

        Raises:
            ToolError: it is no web page, or cannot be reached.
        """
        parse_url(url)  # nothing but http and https, written in one way only
        page = self._pages[-1] if self._pages else await self._context.new_page()
        status, self._status = self._status, None
        downloads = self._downloads.count
        try:
            response = await page.goto(url, wait_until="commit", timeout=self.left())
        except PlaywrightTimeoutError:
            raise ToolError(
                ErrorCode.TIMEOUT,
                "the page did not begin to arrive in time",
                hint="try again with a longer timeout_s; the server may be slow",
            ) from None
        except Error as error:
            await self._no_visit(url, error, downloads)
            self._status = status  # it was a download: the page is still the one before
            return
        self._status = response.status if response is not None else None
        await self.settle()

    async def _no_visit(self, url: str, error: Error, downloads: int) -> None:
        text = str(error)
        if self._crashed:
            raise failing.crashed() from None
        if "Download is starting" in text or "ERR_ABORTED" in text:
            if await self._downloads.next_after(downloads, self.left() / 1000):
                return
            raise ToolError(ErrorCode.HTTP_ERROR, "the server sent no page") from None
        name = failing.net_error(text)
        if not name and self._failure is not None:
            url, name = self._failure
        with suppress(Error):  # which would break into where one goes next
            await self.page.wait_for_url(f"{ERROR_PAGE}**", wait_until="commit", timeout=ERROR_MS)
        raise await failing.unreachable(url, name or "ERR_FAILED", self.deadline) from None

    async def settle(self) -> None:
        """Waits until the page can be used and asks for nothing more, but not for long.

        Raises:
            ToolError: it went to a page that cannot be reached.
        """
        before = set(self._running)
        await asyncio.sleep(PAUSE_S)
        await self._loaded("domcontentloaded", self.left())
        await self._loaded("load", min(LOAD_S * 1000, self.left()))
        end = time.monotonic() + min(QUIET_AT_MOST_S, self.left() / 1000)
        quiet = time.monotonic()
        while time.monotonic() < end and time.monotonic() - quiet < QUIET_S:
            await asyncio.sleep(PAUSE_S)
            if self._running - before:
                quiet = time.monotonic()
        await self._loaded("domcontentloaded", min(LOAD_S * 1000, self.left()))
        await self._require_a_page()

    async def _loaded(self, state: Any, timeout: float) -> None:
        try:
            await self.page.wait_for_load_state(state, timeout=timeout)
        except PlaywrightTimeoutError:
            self.notes.add("the page has not arrived completely")
        except Error:
            if self._crashed:
                raise failing.crashed() from None

    async def _require_a_page(self) -> None:
        if self._answer is not None:
            with suppress(Error):
                refused = await failing.refused(self._answer)
                if refused is not None:
                    raise refused
        if self._pages and self._pages[-1].url.startswith(ERROR_PAGE):
            url, name = self._failure or ("", "ERR_FAILED")
            raise await failing.unreachable(url, name, self.deadline)

    async def report(
        self,
        *,
        max_chars: int,
        offset: int = 0,
        ref: str | None = None,
        query: str | None = None,
    ) -> dict[str, Any]:
        """The fields of a `PageResult`."""
        if not self._pages and self.notes:
            return self._nothing()
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
            "status": self._status,
            "snapshot": part.text,
            "offset": part.offset,
            "total_chars": part.total,
            "next_offset": part.next_offset,
            "truncated": part.next_offset is not None,
            "notes": self.notes.take(),
        }

    def _nothing(self) -> dict[str, Any]:
        return {"url": "about:blank", "snapshot": "", "total_chars": 0, "notes": self.notes.take()}

    async def text(self) -> str:
        """The snapshot of the whole page."""
        for left in reversed(range(SNAPSHOT_TRIES)):
            try:
                taken = self.page.aria_snapshot(mode="ai", timeout=self.left(reserve=False))
                return reading.clean(await self.asked(taken))
            except Error as error:
                if not left or not _LEFT_MIDWAY.search(str(error)):
                    raise self.failure(error) from None
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

    async def reacts(self, within_s: float = 2.0) -> bool:
        """Whether the page still does anything."""
        with suppress(Error, TimeoutError):
            async with asyncio.timeout(within_s):
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
            if self._crashed or not self._browser.is_connected():
                raise self.failure(error) from None
        raise unknown_ref(ref)

    async def close_tab(self) -> bool:
        """Closes the current page if another is open behind it; False if there is none."""
        if len(self._pages) < 2:
            return False
        await self.asked(self._pages[-1].close())
        return True

    def failure(self, error: Error) -> ToolError:
        """What to tell of something that playwright could not do."""
        if self._crashed or not self._browser.is_connected():
            return failing.crashed()
        return ToolError(ErrorCode.INTERNAL, failing.first_line(str(error)))

    def _listen(self) -> None:
        context = self._context
        context.on("page", self._page_opened)
        context.on("dialog", self.notes.dismiss)
        context.on("weberror", self.notes.page_error)
        context.on("request", self._request_began)
        context.on("requestfinished", self._request_ended)
        context.on("requestfailed", self._request_failed)
        context.on("response", self._answered)

    async def _page_opened(self, page: Page) -> None:
        if self._pages:
            self.notes.add("a new tab opened and is the current page; back closes it")
        self._pages.append(page)
        page.on("close", self._page_closed)
        page.on("crash", self._page_crashed)
        page.on("download", self._downloads.receive)
        page.on("framenavigated", self._went_on)
        if len(self._pages) > MAX_PAGES:
            self.notes.add(f"a tab was closed: there were more than {MAX_PAGES}")
            with suppress(Error):
                await self._pages[1].close()

    def _page_closed(self, page: Page) -> None:
        if page in self._pages:
            self._pages.remove(page)

    def _page_crashed(self, _page: Page) -> None:
        self._crashed = True

    def _went_on(self, frame: Frame) -> None:
        if self._pages and frame == self._pages[-1].main_frame:
            self._running.clear()

    def _request_began(self, request: Request) -> None:
        if request.resource_type in FOLLOWED and len(self._running) < MAX_FOLLOWED:
            self._running.add(request)

    def _request_ended(self, request: Request) -> None:
        self._running.discard(request)

    def _request_failed(self, request: Request) -> None:
        self._running.discard(request)
        if self._is_page(request):
            self._failure = (request.url, failing.net_error(f"net::{request.failure}"))

    def _answered(self, response: Response) -> None:
        if self._is_page(response.request):
            self._status, self._answer = response.status, response

    def _is_page(self, request: Request) -> bool:
        """Whether it is for the document of the current page."""
        if not request.is_navigation_request():
            return False
        try:
            return bool(self._pages) and request.frame == self._pages[-1].main_frame
        except Error:  # of a tab that is only being made
            return False


def unknown_ref(ref: str) -> ToolError:
    """A reference that the page does not have."""
    return ToolError(
        ErrorCode.NOT_FOUND,
        f"the page has no element {ref!r}",
        hint="take a new snapshot with browser_snapshot: references change when the page does",
    )
