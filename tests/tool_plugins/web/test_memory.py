"""What a worker takes for answers that would fill any memory."""

import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.services.web import Answer, Web
from tests.tool_plugins.web.conftest import Tools
from tool_plugins.errors import ErrorCode

MIB = 1024 * 1024
# A body of 20 MiB is held, and for a moment a copy of it.
MAX_GROWTH_MB = 64
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


def peak_mb() -> int:
    """The most memory that a worker of this process ever had."""
    peaks = [
        int(line.split()[1]) // 1024
        for child in psutil.Process().children()
        if "-IS" in child.cmdline()
        for line in Path(f"/proc/{child.pid}/status").read_text().splitlines()
        if line.startswith("VmHWM")
    ]
    assert peaks
    return max(peaks)


def bomb() -> Iterator[bytes]:
    """Three gigabytes in three megabytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    yield HEAD + b"Content-Encoding: gzip\r\n\r\n"
    for _ in range(3000):
        yield packer.compress(bytes(MIB))


def endless() -> Iterator[bytes]:
    return itertools.chain([HEAD + b"\r\n"], itertools.repeat(b"x" * 65536))


def endless_line() -> Iterator[bytes]:
    return itertools.chain([HEAD + b"X: "], itertools.repeat(b"x" * 65536))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (bomb, ErrorCode.TOO_LARGE),
        (endless, ErrorCode.TOO_LARGE),
        (endless_line, ErrorCode.CONNECTION_ERROR),
    ],
)
async def test_memory_is_bounded(
    worker_tools: Tools, web: Web, body: type[Iterator[bytes]], code: ErrorCode
) -> None:
    web.text("/", "hello", "text/plain")
    web.route("/x", lambda _: Answer(raw=body()))
    await worker_tools.fetch(web.url("/"))
    before = peak_mb()

    assert await worker_tools.code("fetch", web.url("/x", tls=True)) == code
    assert peak_mb() - before < MAX_GROWTH_MB
    assert (await worker_tools.fetch(web.url("/"))).content == "hello"
