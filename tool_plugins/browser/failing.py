"""What to say when the browser cannot do what it was asked."""

import asyncio
import io
import re
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.web.head import Head
from tool_plugins.web.url import parse_url
from tool_plugins.web.wire import Deadline, open_wire, refusal

from .reading import clean_line
from .room import memory_mb

if TYPE_CHECKING:
    from playwright.async_api import Response

MAX_MESSAGE_CHARS = 400
ASK_AGAIN_S = 5.0
RESTART = {"restart": True}
_NET_ERROR = re.compile(r"net::(ERR_[A-Z0-9_]+)")
# Chromium's names for what went wrong, by how they begin. The first that fits counts.
_CODES = (
    ("ERR_NAME_NOT_RESOLVED", ErrorCode.DNS_ERROR, "the name of {host} is not known"),
    ("ERR_CERT_", ErrorCode.TLS_ERROR, "the certificate of {host} is not valid"),
    ("ERR_SSL_", ErrorCode.TLS_ERROR, "TLS with {host} failed"),
    ("ERR_BAD_SSL", ErrorCode.TLS_ERROR, "TLS with {host} failed"),
    ("ERR_TIMED_OUT", ErrorCode.TIMEOUT, "{host} did not answer in time"),
    ("ERR_CONNECTION_TIMED_OUT", ErrorCode.TIMEOUT, "{host} did not answer in time"),
    ("ERR_TOO_MANY_REDIRECTS", ErrorCode.HTTP_ERROR, "{host} redirects in a circle"),
    ("ERR_UNSAFE_PORT", ErrorCode.INVALID_ARGUMENT, "browsers refuse the port of {host}"),
    ("ERR_INVALID_URL", ErrorCode.INVALID_ARGUMENT, "the browser refuses the URL"),
    ("ERR_UNSAFE_REDIRECT", ErrorCode.INVALID_ARGUMENT, "{host} redirects to no web page"),
    ("ERR_CONNECTION_REFUSED", ErrorCode.CONNECTION_ERROR, "nothing listens at {host}"),
    ("ERR_EMPTY_RESPONSE", ErrorCode.CONNECTION_ERROR, "{host} closed without an answer"),
    ("", ErrorCode.CONNECTION_ERROR, "the connection to {host} failed"),
)
_LOCAL_HINT = "start the server in the sandbox first, and give its port"


def stuck(message: str) -> ToolError:
    """A TIMEOUT after which the browser is of no use: it is closed, and opens again when asked."""
    return ToolError(
        ErrorCode.TIMEOUT,
        message,
        hint="the browser was closed; open the page again, with more time if it is only slow",
        details=dict(RESTART),
    )


def crashed() -> ToolError:
    """The page is gone; so is the browser, for a fresh one."""
    limit = memory_mb()
    room = f" (the sandbox has {limit} MB)" if limit else ""
    return ToolError(
        ErrorCode.INTERNAL,
        f"the page crashed, most likely for want of memory{room}",
        hint="the browser was closed; open a smaller page, or use web_fetch",
        details=dict(RESTART),
    )


def no_page() -> ToolError:
    """There is nothing to look at."""
    return ToolError(ErrorCode.NOT_FOUND, "no page is open", hint="open one with browser_open")


def first_line(text: str) -> str:
    """What playwright says, without the name of its function, the rest and the log."""
    line = text.partition("\n")[0].partition(" Call log:")[0]
    line = re.sub(r"^\w+\.\w+: (Error: )?", "", line)
    return clean_line(line, MAX_MESSAGE_CHARS)


def net_error(text: str) -> str:
    """Chromium's name of what went wrong on the network; empty if it names nothing."""
    found = _NET_ERROR.search(text)
    return found[1] if found else ""


async def unreachable(url: str, name: str, deadline: float) -> ToolError:
    """Why `url` could not be loaded, where Chromium says `name`.

    Of a tunnel that is refused Chromium tells nothing more, so the proxy is asked once again.
    """
    host = urlsplit(url).netloc.rpartition("@")[2]
    if not is_local(url):
        left = min(ASK_AGAIN_S, deadline - time.monotonic())
        if left > 0:
            try:
                await asyncio.to_thread(_try_wire, url, left)
            except ToolError as error:
                return error
    for beginning, code, says in _CODES:
        if name.startswith(beginning):
            message = f"{says.format(host=clean_line(host, 200))} ({name})"
            unserved = name == "ERR_CONNECTION_REFUSED" and is_local(url)
            return ToolError(code, message, hint=_LOCAL_HINT if unserved else "")
    raise AssertionError("the last of them fits everything")


def _try_wire(url: str, seconds: float) -> None:
    open_wire(parse_url(url), Deadline(seconds)).close()


async def refused(response: "Response") -> ToolError | None:
    """What the proxy says where it answered itself, to a request in plain http."""
    if not response.url.startswith("http://") or is_local(response.url):
        return None
    head = Head(response.status, "", list(response.headers.items()))
    if not head.get("x-egress-error"):
        return None
    body = io.BufferedReader(io.BytesIO(await response.body()))  # pyright: ignore[reportArgumentType]
    return refusal(head, body, parse_url(response.url))


def is_local(url: str) -> bool:
    """Whether a URL leads to the sandbox itself, without the proxy."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return host in ("localhost", "::1") or host.startswith("127.") or host.endswith(".localhost")
