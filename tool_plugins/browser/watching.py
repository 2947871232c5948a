"""What the browser does by itself: tabs that open and close, requests that come and go.

A new tab becomes the current page; when it closes, the one before it does.
"""

import asyncio
from contextlib import suppress

from playwright.async_api import BrowserContext, Error, Frame, Page, Request, Response

from . import failing
from .arriving import Downloads
from .notes import Notes
from .places import Places

MAX_PAGES = 5
MAX_FOLLOWED = 500
FOLLOWED = frozenset({"document", "fetch", "script", "stylesheet", "xhr"})
"""Requests that are worth waiting for: they change what a page says."""


class Watch:
    """Keeps account of all that happens in a browser.

    `status` and `answer` are those of the current page's document, where it was loaded over the
    network; `failure` is the URL that could not be loaded, and Chromium's name of the reason.
    """

    def __init__(self, context: BrowserContext, places: Places) -> None:
        self.notes = Notes()
        self.downloads = Downloads(places, self.notes)
        self.pages: list[Page] = []
        self.crashed = False
        self.status: int | None = None
        self.answer: Response | None = None
        self.failure: tuple[str, str] | None = None
        self._running: set[Request] = set()
        self._before: set[Request] = set()
        self._closing: set[asyncio.Task[None]] = set()
        context.on("page", self._page_opened)
        context.on("dialog", self.notes.dismiss)
        context.on("weberror", self.notes.page_error)
        context.on("request", self._request_began)
        context.on("requestfinished", self._request_ended)
        context.on("requestfailed", self._request_failed)
        context.on("response", self._answered)

    @property
    def page(self) -> Page:
        """The current page.

        Raises:
            ToolError: NOT_FOUND, there is none; INTERNAL, it crashed.
        """
        if self.crashed:
            raise failing.crashed()
        if not self.pages:
            raise failing.no_page()
        return self.pages[-1]

    @property
    def busy(self) -> bool:
        """Whether requests run that began after `begin`."""
        return bool(self._running - self._before)

    def begin(self) -> None:
        """Tells apart what happened so far from what comes."""
        self.failure = None
        self.answer = None
        # One that runs since long ago, such as a stream of events, may never end.
        self._before = set(self._running)

    def _page_opened(self, page: Page) -> None:
        if self.pages:
            self.notes.add("a new tab opened and is the current page; back closes it")
        self.pages.append(page)
        page.on("close", self._page_closed)
        page.on("crash", self._page_crashed)
        page.on("download", self.downloads.receive)
        page.on("framenavigated", self._went_on)
        if len(self.pages) > MAX_PAGES:
            self.notes.add(f"a tab was closed: there were more than {MAX_PAGES}")
            closing = asyncio.ensure_future(self._close(self.pages[1]))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def _close(self, page: Page) -> None:
        with suppress(Error):
            await page.close()

    def _page_closed(self, page: Page) -> None:
        if page in self.pages:
            self.pages.remove(page)

    def _page_crashed(self, _page: Page) -> None:
        self.crashed = True

    def _went_on(self, frame: Frame) -> None:
        if self.pages and frame == self.pages[-1].main_frame:
            self._running.clear()

    def _request_began(self, request: Request) -> None:
        if request.resource_type in FOLLOWED and len(self._running) < MAX_FOLLOWED:
            self._running.add(request)

    def _request_ended(self, request: Request) -> None:
        self._running.discard(request)

    def _request_failed(self, request: Request) -> None:
        self._running.discard(request)
        name = failing.net_error(request.failure or "")
        if name and name != "ERR_ABORTED" and self._is_document(request):
            self.failure = (request.url, name)

    def _answered(self, response: Response) -> None:
        if self._is_document(response.request):
            self.status, self.answer = response.status, response

    def _is_document(self, request: Request) -> bool:
        """Whether it is for the document of the current page."""
        if not request.is_navigation_request():
            return False
        try:
            return bool(self.pages) and request.frame == self.pages[-1].main_frame
        except Error:  # of a tab that is only being made
            return False
