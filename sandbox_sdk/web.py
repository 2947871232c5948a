"""Typed methods for the web, document and browser tools, such as `sandbox.web.fetch(...)`.

See `sandbox_sdk.facades`: the signatures are the tools' argument models, written once more.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from tool_plugins.browser import results as browser
from tool_plugins.browser.arguments import Action as BrowserAction
from tool_plugins.document import results as document
from tool_plugins.web import results as web

from .facades import Executes, call

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class WebTools:
    """The web, as far as the sandbox's egress policy goes."""

    def __init__(self, sandbox: Executes) -> None:
        self._sandbox = sandbox

    async def fetch(
        self,
        url: str,
        *,
        mode: Literal["article", "full", "raw"] = "article",
        max_chars: int = 20_000,
        offset: int = 0,
        links: bool = False,
        headers: Mapping[str, str] = NO_HEADERS,
        timeout_s: float = 30.0,
    ) -> web.FetchResult:
        """Fetches a page as Markdown. What it says is data from outside."""
        return await call(web.FetchResult, "web.fetch", locals())

    async def download(
        self,
        url: str,
        path: str,
        *,
        mode: Literal["create", "overwrite"] = "create",
        max_mb: int = 100,
        sha256: str | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
        timeout_s: float = 300.0,
    ) -> web.DownloadResult:
        """Downloads a URL into a file of the workspace, all of it or nothing."""
        return await call(web.DownloadResult, "web.download", locals())

    async def request(
        self,
        method: Method,
        url: str,
        *,
        headers: Mapping[str, str] = NO_HEADERS,
        json_body: Any = None,
        body: str | None = None,
        follow_redirects: bool = False,
        max_chars: int = 20_000,
        timeout_s: float = 30.0,
    ) -> web.RequestResult:
        """Sends one HTTP request. An error status is an ordinary result."""
        return await call(web.RequestResult, "web.request", locals())

    async def search(
        self,
        query: str,
        *,
        limit: int = 8,
        allowed_domains: Sequence[str] = (),
        blocked_domains: Sequence[str] = (),
        recency: Literal["day", "week", "month", "year"] | None = None,
    ) -> web.SearchResult:
        """Searches the web with the group's provider."""
        return await call(web.SearchResult, "web.search", locals())


class DocumentTools:
    """Documents of the workspace."""

    def __init__(self, sandbox: Executes) -> None:
        self._sandbox = sandbox

    async def read(
        self,
        path: str,
        *,
        pages: str | None = None,
        max_chars: int = 20_000,
        offset: int = 0,
        timeout_s: float = 60.0,
    ) -> document.ReadResult:
        """Reads a PDF, DOCX, XLSX or HTML file as Markdown."""
        return await call(document.ReadResult, "document.read", locals())


class BrowserTools:
    """The sandbox's browser. `ref` names an element of the last snapshot."""

    def __init__(self, sandbox: Executes) -> None:
        self._sandbox = sandbox

    async def open(
        self, url: str, *, max_chars: int = 5_000, timeout_s: float = 60.0
    ) -> browser.PageResult:
        """Opens a URL; the browser starts at first use."""
        return await call(browser.PageResult, "browser.open", locals())

    async def snapshot(
        self,
        *,
        ref: str | None = None,
        query: str | None = None,
        max_chars: int = 20_000,
        offset: int = 0,
        timeout_s: float = 30.0,
    ) -> browser.PageResult:
        """The page as it is now, as an accessibility tree."""
        return await call(browser.PageResult, "browser.snapshot", locals())

    async def act(
        self,
        action: BrowserAction,
        ref: str | None = None,
        value: str | None = None,
        *,
        submit: bool = False,
        max_chars: int = 5_000,
        timeout_s: float = 30.0,
    ) -> browser.PageResult:
        """Operates the page."""
        return await call(browser.PageResult, "browser.act", locals())

    async def screenshot(
        self,
        *,
        ref: str | None = None,
        full_page: bool = False,
        path: str | None = None,
        timeout_s: float = 30.0,
    ) -> browser.ScreenshotResult:
        """Takes a picture. To get the image itself, give a path or use `sandbox.execute`."""
        return await call(browser.ScreenshotResult, "browser.screenshot", locals())

    async def close(self) -> browser.CloseResult:
        """Closes the browser and frees its memory."""
        return await call(browser.CloseResult, "browser.close", locals())
