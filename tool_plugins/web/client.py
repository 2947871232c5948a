"""Asks for a URL and follows redirects: one connection per request, one deadline for all."""

import io
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

from tool_plugins.errors import ErrorCode, ToolError

from .coding import ACCEPTED
from .head import Head, declared_length, read_body, read_head
from .url import PORTS, Url
from .wire import Deadline, Wire, open_wire, refusal

USER_AGENT = "sandbox-sdk/0.1"
MAX_REDIRECTS = 5
MAX_RETRY_AFTER_S = 30 * 24 * 3600
REDIRECTS = frozenset({301, 302, 303, 307, 308})
BODILESS = frozenset({204, 304})
# What may go along when a redirect leads to another server. Any other header may hold a secret.
HARMLESS = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "if-modified-since",
        "if-none-match",
        "pragma",
        "range",
        "user-agent",
    }
)


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask. `headers` with names in lower case; framing and routing are added."""

    method: str
    url: Url
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None

    def encoded(self) -> bytes:
        """The bytes of it. Plain http names the whole URL, because a proxy reads it."""
        target = str(self.url) if self.url.scheme == "http" else self.url.target
        headers = {"accept": "*/*", "accept-encoding": ACCEPTED, "user-agent": USER_AGENT}
        headers |= self.headers
        headers |= {"host": self.url.authority, "connection": "close"}
        if self.body is not None:
            headers["content-length"] = str(len(self.body))
        lines = [f"{self.method} {target} HTTP/1.1"]
        lines += [f"{name.title()}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (self.body or b"")


class Answer:
    """An answer whose head has come and whose body has not. Close it."""

    def __init__(self, request: Request, head: Head, reader: "io.BufferedReader[Any]") -> None:
        self.url = request.url
        self.status = head.status
        self.head = head
        self._bodiless = request.method == "HEAD" or head.status in BODILESS
        self._reader = reader

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters; empty if there is none."""
        return self.head.get("content-type").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str:
        """What the Content-Type says of it; empty if nothing."""
        found = re.search(
            r";\s*charset\s*=\s*[\"']?([\w.:+-]{1,40})", self.head.get("content-type"), re.I
        )
        return found[1] if found else ""

    @property
    def length(self) -> int | None:
        """Bytes of the body as sent, where they are known before."""
        return 0 if self._bodiless else declared_length(self.head, self.url)

    def pieces(self) -> Iterator[bytes]:
        """The body as it was sent: compressed if it is. Once only."""
        return iter(()) if self._bodiless else read_body(self._reader, self.head, self.url)

    def hurry(self, deadline: Deadline) -> None:
        """Lets the body take no longer than this, if that is sooner."""
        wire: Any = self._reader.raw
        if deadline.end < wire.deadline.end:
            wire.deadline = deadline

    def close(self) -> None:
        """Closes the connection."""
        self._reader.close()

    def details(self) -> dict[str, Any]:
        """For the details of an error: the status, and when to come again."""
        found: dict[str, Any] = {"status": self.status}
        wait = _retry_after(self.head.get("retry-after"))
        return found if wait is None else found | {"retry_after": wait}


def ask(
    request: Request,
    deadline: Deadline,
    *,
    follow: bool = True,
    check: Callable[[Url], None] = lambda _url: None,
) -> Answer:
    """The answer at the end of all redirects, whatever its status. `check` sees every URL first.

    Raises:
        ToolError: no answer came, or a redirect leads where it must not.
    """
    seen = {str(request.url)}
    while True:
        check(request.url)
        answer = _ask_once(request, deadline)
        location = answer.head.get("location") if answer.status in REDIRECTS else ""
        if not follow or not location:
            return answer
        answer.close()
        request = _redirected(request, location, answer)
        if str(request.url) in seen:
            raise _redirect_error(answer, f"redirects in a circle, to {request.url}")
        if len(seen) > MAX_REDIRECTS:
            raise _redirect_error(answer, f"redirects after {MAX_REDIRECTS} redirects already")
        seen.add(str(request.url))


def _ask_once(request: Request, deadline: Deadline) -> Answer:
    wire = open_wire(request.url, deadline)
    reader = io.BufferedReader(wire, 64 * 1024)
    try:
        return _answer(request, wire, reader)
    except BaseException:
        reader.close()
        raise


def _answer(request: Request, wire: Wire, reader: "io.BufferedReader[Any]") -> Answer:
    wire.send_all(request.encoded())
    head = read_head(reader, request.url)
    if request.url.scheme == "http" and (refused := refusal(head, reader, request.url)) is not None:
        raise refused
    return Answer(request, head, reader)


def _redirected(request: Request, location: str, answer: Answer) -> Request:
    url = _destination(request.url, location, answer)
    if request.url.scheme == "https" and url.scheme == "http":
        raise _redirect_refused(answer, f"redirects from https to {url}, in plain text")
    headers = request.headers
    if not _same_server(request.url, url):
        headers = {name: value for name, value in headers.items() if name in HARMLESS}
    return replace(request, url=url, headers=headers)


def _destination(base: Url, location: str, answer: Answer) -> Url:
    with suppress(UnicodeError):  # many servers write UTF-8, which a header does not know
        location = location.encode("latin-1").decode("utf-8")
    try:
        return base.join(location.replace(" ", "%20"))
    except ToolError as exc:
        says = f"redirects to what cannot be followed: {exc.message}"
        raise _redirect_refused(answer, says) from exc


def _same_server(old: Url, new: Url) -> bool:
    upgraded = (old.port, new.port) == (PORTS["http"], PORTS["https"])
    return old.host == new.host and (
        (old.scheme, old.port) == (new.scheme, new.port) or (upgraded and new.scheme == "https")
    )


def _redirect_error(answer: Answer, says: str) -> ToolError:
    return ToolError(
        ErrorCode.HTTP_ERROR,
        f"{answer.url.endpoint} {says}",
        hint="ask for another URL of that server",
        details={"status": answer.status},
    )


def _redirect_refused(answer: Answer, says: str) -> ToolError:
    return ToolError(
        ErrorCode.EGRESS_DENIED,
        f"{answer.url.endpoint} {says}",
        hint="ask for that address itself if it is what you want",
        details={"host": answer.url.host, "reason": "redirect", "status": answer.status},
    )


def _retry_after(value: str) -> int | None:
    """Seconds until then, from a number of seconds or a date."""
    if re.fullmatch(r"[0-9]{1,9}", value):
        return min(int(value), MAX_RETRY_AFTER_S)
    try:
        moment = parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return min(max(0, round(moment - time.time())), MAX_RETRY_AFTER_S)
