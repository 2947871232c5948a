"""What to say of an answer that is an error."""

import re
from contextlib import suppress
from http import HTTPStatus

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.invisible import one_line

from .charset import decode as decode_text
from .charset import looks_binary
from .client import Answer
from .coding import decode
from .wire import Deadline

READ_BYTES = 32 * 1024
READ_S = 3.0
EXCERPT_CHARS = 300
_SILENT = re.compile(
    r"<(script|style|head|svg)\b.{0,20000}?</\1\s*>|<!--.{0,5000}?-->", re.I | re.S
)
_TAG = re.compile(r"<[^<>]{0,2000}>")
_HINTS = {
    401: "the server wants credentials: give them in headers",
    403: "the server refuses this, perhaps to programs in general; look elsewhere",
    404: "check the URL, or begin at the site's front page",
    410: "it was removed; look elsewhere",
    429: "ask less often",
}


def http_error(answer: Answer) -> ToolError:
    """An HTTP_ERROR with the status, when to come again, and the first words of the answer."""
    details = answer.details()
    says = f"{answer.url.endpoint} answered {answer.status}{_phrase(answer.status)}"
    if excerpt := _excerpt(answer):
        says += f": {excerpt!r}"
    hint = _HINTS.get(answer.status, "")
    if answer.status >= 500:
        hint = "the server is at fault; try again later"
    if "retry_after" in details:
        hint = f"try again in {details['retry_after']} seconds"
    return ToolError(ErrorCode.HTTP_ERROR, says, hint=hint, details=details)


def _phrase(status: int) -> str:
    """The usual words for a status; what the server writes there may be anything."""
    with suppress(ValueError):
        return f" {HTTPStatus(status).phrase}"
    return ""


def _excerpt(answer: Answer) -> str:
    body = bytearray()
    # An error page is worth a moment, not the whole deadline; what came of it will do.
    answer.hurry(Deadline(READ_S))
    with suppress(ToolError):
        for piece in decode(answer.pieces(), answer.head, answer.url):
            body += piece
            if len(body) >= READ_BYTES:
                break
    start = bytes(body[:READ_BYTES])
    if looks_binary(start):
        return ""
    text = decode_text(start, answer.charset, markup=True)
    if "html" in answer.content_type:
        text = _TAG.sub(" ", _SILENT.sub(" ", text))
    return one_line(text, EXCERPT_CHARS)
