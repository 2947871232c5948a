"""The beginning of a server's answer: it may not look like an answer of the proxy."""

import re
from collections.abc import Awaitable, Callable

MAX_HEAD_BYTES = 64 * 1024

_END = re.compile(rb"\r?\n\r?\n")
_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)\d\d\b")
_OURS = re.compile(rb"(?im)^x-egress-error(?=[ \t]*:)")
_THEIRS = b"x-server-error"
"""As long as what it replaces, so that nothing moves."""


async def read_answer(receive: Callable[[], Awaitable[bytes]]) -> bytes:
    """What the server sends first: its head, and what came with it.

    The header by which the proxy tells of its own refusals is renamed in it, so that no server can
    put words into the proxy's mouth. Empty when the server closed without a byte.

    Raises:
        OSError: the server broke off before the first byte.
    """
    answer = await receive()
    begin = 0
    while answer:
        end = _END.search(answer, begin)
        if end is not None and not _INTERIM.match(answer, begin):
            return _renamed(answer, end.end())
        if end is not None:
            begin = end.end()
            continue
        more = b"" if len(answer) > MAX_HEAD_BYTES else await _more(receive)
        if not more:
            break
        answer += more
    return _renamed(answer, len(answer))


async def _more(receive: Callable[[], Awaitable[bytes]]) -> bytes:
    try:
        return await receive()
    except OSError:
        return b""  # what came is passed on, and its end with it


def _renamed(answer: bytes, end: int) -> bytes:
    return _OURS.sub(_THEIRS, answer[:end]) + answer[end:]
