"""Undoes the compression of bodies, a bounded piece at a time, so that no bomb goes off."""

import zlib
from collections.abc import Iterable, Iterator

from tool_plugins.errors import ErrorCode, ToolError

from .head import Head, broken
from .url import Url

ACCEPTED = "gzip, deflate"
MAX_WIRE_BYTES = 5 * 1024 * 1024
MAX_BODY_BYTES = 20 * 1024 * 1024
PIECE_BYTES = 256 * 1024
INPUT_BYTES = 16 * 1024

_GZIP = 16 + zlib.MAX_WBITS
_GZIP_MAGIC = b"\x1f\x8b"


def decode(
    pieces: Iterable[bytes], head: Head, url: Url, *, max_wire_bytes: int = MAX_WIRE_BYTES
) -> Iterator[bytes]:
    """The body without its content coding; no piece is larger than `PIECE_BYTES`.

    The caller counts what comes out; what comes in compressed is counted here.

    Raises:
        ToolError: TOO_LARGE, more than `max_wire_bytes` of it came; UNSUPPORTED_CONTENT, the coding
            is not one we asked for; CONNECTION_ERROR, the data is damaged or ends early.
    """
    coding = ", ".join(head.every("content-encoding")).lower().strip()
    if coding in ("", "identity"):
        return iter(pieces)
    counted = _counted(pieces, max_wire_bytes)
    if coding in ("gzip", "x-gzip"):
        return _inflated(counted, url, gzip=True)
    if coding == "deflate":
        return _inflated(counted, url, gzip=False)
    raise ToolError(
        ErrorCode.UNSUPPORTED_CONTENT,
        f"{url.endpoint} sent its answer in the content coding {coding[:40]!r}, "
        f"though asked for {ACCEPTED}",
        hint="web_download keeps the bytes as they come",
        details={"status": head.status},
    )


def too_large(limit: int, what: str) -> ToolError:
    """A TOO_LARGE error about an answer."""
    return ToolError(
        ErrorCode.TOO_LARGE,
        f"the answer has more than {limit} bytes{what}",
        hint="use web_download to keep it as a file, and read that in parts",
        details={"limit": limit},
    )


def _counted(pieces: Iterable[bytes], limit: int) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > limit:
            raise too_large(limit, ", compressed")
        yield piece


def _inflated(pieces: Iterable[bytes], url: Url, *, gzip: bool) -> Iterator[bytes]:
    inflater = None
    for piece in pieces:
        for start in range(0, len(piece), INPUT_BYTES):
            data = piece[start : start + INPUT_BYTES]
            while data:
                if inflater is None:
                    inflater = zlib.decompressobj(_GZIP if gzip else _deflate_bits(data))
                elif inflater.eof:
                    if not gzip or not _GZIP_MAGIC.startswith(data[:2]):
                        return  # padding after the end, which everybody passes over
                    inflater = zlib.decompressobj(_GZIP)  # one more member
                try:
                    out = inflater.decompress(data, PIECE_BYTES)
                except zlib.error:
                    raise broken(url, "sent damaged compressed data") from None
                data = inflater.unconsumed_tail or inflater.unused_data
                if out:
                    yield out
    if inflater is not None:
        yield from _rest(inflater, url)


def _rest(inflater: "zlib._Decompress", url: Url) -> Iterator[bytes]:
    """What the inflater still holds, although all input is in."""
    while not inflater.eof:
        out = inflater.decompress(b"", PIECE_BYTES)
        if not out:
            raise broken(url, "ended early, within compressed data")
        yield out


def _deflate_bits(data: bytes) -> int:
    """Some servers send `deflate` with its header of two bytes (zlib), as they should, some not."""
    is_zlib = data[0] & 0x0F == 8 and (len(data) < 2 or (data[0] << 8 | data[1]) % 31 == 0)
    return zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS
