"""Why a request goes nowhere, and how that is put for the program that asked."""

import json
from dataclasses import dataclass

from tool_plugins.errors import ErrorCode

from .decision import Reason

PHRASE_CHARACTERS = 200
TEXT_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class _Kind:
    status: int
    code: ErrorCode
    socks: int


# The last column is a reply of SOCKS5 (RFC 1928, section 6).
_DENIED = _Kind(403, ErrorCode.EGRESS_DENIED, 2)
_MALFORMED = _Kind(400, ErrorCode.INVALID_ARGUMENT, 1)
_KINDS = {
    Reason.BAD_REQUEST: _MALFORMED,
    Reason.BAD_HOST: _MALFORMED,
    Reason.LIMIT: _Kind(429, ErrorCode.QUOTA_EXCEEDED, 1),
    Reason.DNS: _Kind(502, ErrorCode.DNS_ERROR, 4),
    Reason.UNREACHABLE: _Kind(502, ErrorCode.CONNECTION_ERROR, 5),
    Reason.TIMEOUT: _Kind(504, ErrorCode.TIMEOUT, 4),
    Reason.TLS: _Kind(502, ErrorCode.TLS_ERROR, 1),
}


class RefusedError(Exception):
    """A request or a connection is refused, or ended, for a reason its program is told."""

    def __init__(self, reason: Reason, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.hint = hint


def http_answer(refused: RefusedError, host: str, port: int, *, head_only: bool = False) -> bytes:
    """A whole HTTP response. `head_only` leaves out its body, for an answer to HEAD."""
    kind = _KINDS.get(refused.reason, _DENIED)
    body = json.dumps(
        {
            "code": str(kind.code),
            "message": refused.message[:TEXT_CHARACTERS],
            "hint": refused.hint[:TEXT_CHARACTERS],
            "details": {"host": host, "port": port, "reason": str(refused.reason)},
        }
    ).encode()
    head = (
        f"HTTP/1.1 {kind.status} {_phrase(refused.message)}\r\n"
        f"X-Egress-Error: {kind.code}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    ).encode()
    return head if head_only else head + body


def socks_answer(refused: RefusedError) -> bytes:
    """A reply of SOCKS5 that says no."""
    code = _KINDS.get(refused.reason, _DENIED).socks
    return bytes((5, code, 0, 1, 0, 0, 0, 0, 0, 0))


def printable(text: str, size: int = TEXT_CHARACTERS) -> str:
    """A text that may hold anything as one line of ASCII, at most `size` characters."""
    plain = text[:size].encode("ascii", "backslashreplace").decode()
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in plain)[:size]


def _phrase(message: str) -> str:
    return printable(message, PHRASE_CHARACTERS) or "Refused"
