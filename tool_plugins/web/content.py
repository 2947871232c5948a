"""What an answer holds, by what its head says and by its first bytes."""

import re
from typing import Literal

from tool_plugins.errors import ErrorCode, ToolError

from .charset import looks_binary
from .client import Answer
from .coding import MAX_BODY_BYTES, decode, too_large

Kind = Literal["html", "document", "text", "unknown"]

MAX_NAME_CHARS = 100
_HTML = frozenset({"text/html", "application/xhtml+xml"})
_OFFICE = "application/vnd.openxmlformats-officedocument"
_DOCUMENTS = frozenset(
    {
        "application/pdf",
        "application/x-pdf",
        f"{_OFFICE}.wordprocessingml.document",
        f"{_OFFICE}.spreadsheetml.sheet",
    }
)
_TEXTS = re.compile(
    r"text/.+|message/.+|[\w.-]+/[\w.-]+\+(xml|json|yaml|json-seq)|application/(x-)?(json5?|ndjson"
    r"|jsonl(ines)?|xml|xml-dtd|yaml|toml|javascript|ecmascript|typescript|csv|sql|graphql|sh|csh"
    r"|python|perl|php|ruby|tex|latex|www-form-urlencoded|httpd-php|subrip|sparql-query|rtf)"
)
# Servers give these to whatever they do not know.
_ANYTHING = frozenset(
    {"", "application/octet-stream", "binary/octet-stream", "application/x-download"}
)
_ZIPS = frozenset({"application/zip", "application/x-zip-compressed"})
_DOCUMENT_NAME = re.compile(r"\.(pdf|docx|xlsx)$", re.IGNORECASE)


def expect(answer: Answer) -> Kind:
    """What an answer holds by its head, before any of its body is read.

    Raises:
        ToolError: UNSUPPORTED_CONTENT, it is nothing that can be given as text.
    """
    given = answer.content_type
    if given in _HTML:
        return "html"
    if given in _DOCUMENTS:
        return "document"
    if _TEXTS.fullmatch(given):
        return "text"
    if given in _ANYTHING | _ZIPS and _DOCUMENT_NAME.search(file_name(answer)):
        return "document"
    if given in _ANYTHING:
        return "unknown"
    raise unsupported(answer, f"is {given[:100]!r}")


def find_kind(answer: Answer, expected: Kind, body: bytes) -> Kind:
    """What it holds when its first bytes are known, too.

    Raises:
        ToolError: UNSUPPORTED_CONTENT, it is said to be text and is not.
    """
    if body.startswith(b"%PDF-"):
        return "document"
    if expected == "document":
        return expected
    if looks_binary(body):
        says = answer.content_type or "no type"
        raise unsupported(answer, f"is binary, though the server says {says[:100]!r}")
    if expected != "unknown":
        return expected
    start = body[:1024].lstrip().lower()
    return "html" if start.startswith((b"<!doctype html", b"<html")) else "text"


def read_all(answer: Answer, limit: int = MAX_BODY_BYTES) -> bytes:
    """The whole body, decompressed.

    Raises:
        ToolError: TOO_LARGE, it is more than `limit`; or it does not arrive whole.
    """
    if (answer.length or 0) > limit:
        raise too_large(limit, "")
    body = bytearray()
    for piece in decode(answer.pieces(), answer.head, answer.url):
        body += piece
        if len(body) > limit:
            raise too_large(limit, "")
    return bytes(body)


def file_name(answer: Answer) -> str:
    """The last part of the URL's path, which may end in what the content is."""
    return answer.url.target.partition("?")[0].rpartition("/")[2][:MAX_NAME_CHARS]


def unsupported(answer: Answer, says: str) -> ToolError:
    """An UNSUPPORTED_CONTENT error: "what HOST:PORT answers <says>"."""
    return ToolError(
        ErrorCode.UNSUPPORTED_CONTENT,
        f"what {answer.url.endpoint} answers {says}, which cannot be given as text",
        hint="use web_download to keep it as a file",
        details={"content_type": answer.content_type[:100]},
    )
