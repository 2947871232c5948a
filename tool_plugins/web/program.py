"""What the web tools do in their worker process, as the agent's user."""

import base64
import hashlib
import io
import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.filesystem.errors import path_errors
from tool_plugins.filesystem.writing import write_all
from tool_plugins.invisible import visible, well_formed
from tool_plugins.pieces import piece_of

from .charset import decode as decode_text
from .charset import looks_binary
from .client import Answer, Request, ask
from .coding import MAX_BODY_BYTES, decode
from .content import Kind, expect, file_name, find_kind, read_all, unsupported
from .convert import Page, convert
from .failing import http_error
from .links import absolute_links
from .pages import Fetched, Pages
from .robots import Robots, wanted
from .url import Url, parse_url
from .wire import Deadline

if TYPE_CHECKING:
    from tool_plugins.worker.child import Call

MIB = 1024 * 1024
PROGRESS_EVERY_S = 0.25

_pages = Pages()
_robots = Robots()


def fetch(args: dict[str, Any], call: "Call") -> dict[str, Any]:
    """A page as text, or a piece of it; see `FetchResult`."""
    url = parse_url(args["url"])
    headers = _lower(args["headers"])
    key = (str(url), args["mode"], *sorted(headers.items()))
    # The first piece is always as new as it can be; what follows is to belong to it.
    page = _pages.get(key) if args["offset"] else None
    if page is None:
        deadline = Deadline(args["timeout_s"], call.deadline)
        page = _load(Request("GET", url, headers), args["mode"], deadline)
        _pages.put(key, page)
    return _piece(page, args)


def _load(request: Request, mode: str, deadline: Deadline) -> Fetched:
    def check(url: Url) -> None:
        if wanted(os.environ):
            _robots.check(url, deadline)

    with ask(request, deadline, check=check) as answer:
        if not 200 <= answer.status < 300:
            raise http_error(answer)
        expected = expect(answer)
        body = read_all(answer)
    fetched_at = datetime.now(UTC).isoformat(timespec="seconds")
    page = _convert(answer, find_kind(answer, expected, body), body, mode)
    return Fetched(
        final_url=str(answer.url),
        status=answer.status,
        content_type=answer.content_type,
        title=page.title,
        content=page.content,
        links=absolute_links(page.links, answer.url),
        note=page.note,
        fetched_at=fetched_at,
    )


def _convert(answer: Answer, kind: Kind, body: bytes, mode: Any) -> Page:
    if kind == "document":
        return _document(answer, body, mode)
    if kind != "html":
        text = decode_text(body, answer.charset, markup=answer.content_type.endswith("xml"))
        return Page("", well_formed(text) if mode == "raw" else visible(text))
    return convert(
        body, content_type="text/html", charset=answer.charset, url=str(answer.url), mode=mode
    )


def _document(answer: Answer, body: bytes, mode: str) -> Page:
    if mode == "raw":
        raise unsupported(answer, f"is {answer.content_type[:100]!r}")
    from tool_plugins.document.convert import convert as convert_document

    converted = convert_document(
        io.BytesIO(body),
        pages=None,
        content_type=answer.content_type,
        name=file_name(answer),
    )
    return Page(converted.title, converted.content)


def _piece(page: Fetched, args: dict[str, Any]) -> dict[str, Any]:
    content = piece_of(page.content, args["offset"], args["max_chars"], what="page")
    links = [{"text": text, "url": url} for text, url in page.links] if args["links"] else []
    return {
        "url": args["url"],
        "final_url": page.final_url,
        "status": page.status,
        "content_type": page.content_type,
        "title": page.title,
        **content,
        "links": links,
        "note": page.note,
        "fetched_at": page.fetched_at,
    }


def download(args: dict[str, Any], call: "Call") -> dict[str, Any]:
    """Writes what a URL answers to the descriptor it was given; see `DownloadResult`."""
    deadline = Deadline(args["timeout_s"], call.deadline)
    headers = {"accept-encoding": "identity", **_lower(args["headers"])}
    with ask(Request("GET", parse_url(args["url"]), headers), deadline) as answer:
        if not 200 <= answer.status < 300:
            raise http_error(answer)
        size, digest = _store(answer, args, call)
    if args["sha256"] is not None and args["sha256"].lower() != digest:
        raise ToolError(
            ErrorCode.CONFLICT,
            f"the file has the SHA-256 {digest}, not {args['sha256'].lower()}; it was not kept",
            hint="look for the right digest, or whether the URL is the right one",
            details={"sha256": digest, "bytes": size},
        )
    return {
        "bytes": size,
        "sha256": digest,
        "content_type": answer.content_type,
        "final_url": str(answer.url),
    }


def _store(answer: Answer, args: dict[str, Any], call: "Call") -> tuple[int, str]:
    limit = args["max_mb"] * MIB
    total = answer.length
    if (total or 0) > limit:
        raise _too_large(total, args["max_mb"])
    progress = _Progress(call.emit, total, f"downloading {file_name(answer) or answer.url.host}")
    digest = hashlib.sha256()
    size = 0
    for piece in answer.pieces():
        size += len(piece)
        if size > limit:
            raise _too_large(None, args["max_mb"])
        digest.update(piece)
        with path_errors(args["path"]):
            write_all(call.descriptors[0], piece)
        progress.report(size)
    return size, digest.hexdigest()


def _too_large(size: int | None, max_mb: int) -> ToolError:
    has = "more bytes than that" if size is None else f"{size} bytes"
    return ToolError(
        ErrorCode.TOO_LARGE,
        f"max_mb is {max_mb}, and the file has {has}",
        hint="raise max_mb if the workspace has room for it",
        details={"limit": max_mb * MIB} | ({} if size is None else {"size": size}),
    )


class _Progress:
    """Says how far it is, at first and then at most every `PROGRESS_EVERY_S`."""

    def __init__(
        self, emit: Callable[[dict[str, Any]], None], total: int | None, message: str
    ) -> None:
        self._emit = emit
        self._total = total
        self._message = message
        self._next = 0.0

    def report(self, size: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + PROGRESS_EVERY_S
            self._emit({"progress": size, "total": self._total, "message": self._message})


def request(args: dict[str, Any], call: "Call") -> dict[str, Any]:
    """One request and its answer, whatever its status; see `RequestResult`."""
    deadline = Deadline(args["timeout_s"], call.deadline)
    headers = _lower(args["headers"])
    body = _body(args, headers)
    asked = Request(args["method"], parse_url(args["url"]), headers, body)
    with ask(asked, deadline, follow=args["follow_redirects"]) as answer:
        try:
            kept, total, whole = _beginning(answer, args["max_chars"] * 4 + 4)
        except ToolError as exc:
            # The request was sent, and may have done what it asks for.
            exc.details |= answer.details()
            raise
    body, encoding, cut = _shown(kept, answer, args["max_chars"])
    return {
        "status": answer.status,
        "final_url": str(answer.url),
        "headers": _joined(answer),
        "body": body,
        "encoding": encoding,
        "total_bytes": total,
        "truncated": cut or not whole,
    }


def _body(args: dict[str, Any], headers: dict[str, str]) -> bytes | None:
    if args["json_body"] is not None:
        headers.setdefault("content-type", "application/json")
        try:
            return json.dumps(args["json_body"], allow_nan=False).encode("ascii")
        except (ValueError, RecursionError) as exc:
            raise ToolError(ErrorCode.INVALID_ARGUMENT, f"json_body is no JSON: {exc}") from None
    if args["body"] is not None:
        headers.setdefault("content-type", "text/plain; charset=utf-8")
        return args["body"].encode("utf-8", "replace")
    return b"" if args["method"] in ("POST", "PUT", "PATCH") else None


def _beginning(answer: Answer, limit: int) -> tuple[bytes, int, bool]:
    """The first bytes of a body, how many it has, and whether all were counted."""
    kept = bytearray()
    total = 0
    for piece in decode(answer.pieces(), answer.head, answer.url):
        total += len(piece)
        kept += piece[: limit - len(kept)]
        if total > MAX_BODY_BYTES:
            return bytes(kept), total, False
    return bytes(kept), total, total == len(kept)


def _shown(kept: bytes, answer: Answer, max_chars: int) -> tuple[str, str, bool]:
    """The body as it is returned, its encoding, and whether some of it was left out."""
    if looks_binary(kept):
        fitting = max_chars // 4 * 3
        return base64.b64encode(kept[:fitting]).decode("ascii"), "base64", len(kept) > fitting
    markup = answer.content_type.endswith(("html", "xml"))
    text = decode_text(kept, answer.charset, markup=markup)
    return text[:max_chars], "text", len(text) > max_chars


def _joined(answer: Answer) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in answer.head.headers:
        mark = "\n" if name == "set-cookie" else ", "
        joined[name] = f"{joined[name]}{mark}{value}" if name in joined else value
    return joined


def _lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


HANDLERS = {"fetch": fetch, "download": download, "request": request}
