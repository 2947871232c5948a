"""web.download: a file whole or not at all, whatever server, disk and caller do."""

import asyncio
import gzip
import hashlib
import os
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.web import Answer, Web
from tests.tool_plugins.web.conftest import Tools
from tool_plugins.errors import ErrorCode, ToolError

MIB = 1024 * 1024


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("tls", [False, True])
async def test_a_file_arrives_with_size_and_digest(
    worker_tools: Tools, web: Web, workspace: Path, tls: bool
) -> None:
    body = os.urandom(3 * MIB + 7)
    web.route("/x.bin", lambda _: Answer(body, content_type="application/zip; x=y"))
    digest = hashlib.sha256(body).hexdigest()

    result = await worker_tools.download(
        web.url("/x.bin", tls=tls), path="made/x.bin", sha256=digest.upper()
    )

    assert files(workspace) == {"made/x.bin": body}
    assert (result.path, result.bytes, result.sha256) == ("made/x.bin", len(body), digest)
    assert result.content_type == "application/zip"
    assert result.final_url == web.url("/x.bin", tls=tls)
    assert os.stat(workspace / "made/x.bin").st_mode & 0o777 == 0o644


async def test_an_existing_file_is_refused_before_a_byte_is_fetched(
    tools: Tools, web: Web, workspace: Path
) -> None:
    (workspace / "x").write_text("mine")
    web.text("/", "theirs")

    error = await tools.refused("download", web.url("/"), path="x")

    assert error.code == ErrorCode.ALREADY_EXISTS
    assert "overwrite" in error.hint
    assert web.seen == []

    await tools.download(web.url("/"), path="x", mode="overwrite")
    assert files(workspace) == {"x": b"theirs"}


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("../x", ErrorCode.PATH_OUTSIDE_ROOT),
        ("/etc/x", ErrorCode.PATH_OUTSIDE_ROOT),
        ("folder", ErrorCode.IS_DIRECTORY),
        (".", ErrorCode.IS_DIRECTORY),
        ("file/x", ErrorCode.NOT_DIRECTORY),
        ("n" * 300, ErrorCode.INVALID_ARGUMENT),
        ("out/x", ErrorCode.PATH_OUTSIDE_ROOT),
    ],
)
async def test_a_path_that_cannot_be_written_is_refused_before_a_byte_is_fetched(
    tools: Tools, web: Web, workspace: Path, tmp_path: Path, path: str, code: ErrorCode
) -> None:
    (workspace / "folder").mkdir()
    (workspace / "file").write_text("mine")
    (workspace / "out").symlink_to(tmp_path)
    before = files(workspace)

    assert await tools.code("download", web.url("/"), path=path, mode="overwrite") == code
    assert web.seen == []
    assert files(workspace) == before


def pieces(*of: bytes) -> Answer:
    return Answer(raw=of)


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(b"no", status=404), ErrorCode.HTTP_ERROR),
        (Answer(b"no", status=304), ErrorCode.HTTP_ERROR),
        (pieces(OK, b"Content-Length: 10\r\n\r\nshort"), ErrorCode.CONNECTION_ERROR),
        (pieces(OK, b"Transfer-Encoding: chunked\r\n\r\n5\r\nshort"), ErrorCode.CONNECTION_ERROR),
        (pieces(OK, b"Content-Length: 1048577\r\n\r\n"), ErrorCode.TOO_LARGE),
        (pieces(OK, b"\r\n", bytes(MIB + 1)), ErrorCode.TOO_LARGE),
        (
            pieces(OK, b"\r\n", *[bytes(65536)] * 50),
            ErrorCode.TOO_LARGE,
        ),
        (Answer(b"other"), ErrorCode.CONFLICT),
    ],
)
@pytest.mark.parametrize("mode", ["create", "overwrite"])
async def test_with_an_error_the_file_is_as_it_was(
    tools: Tools, web: Web, workspace: Path, answer: Answer, code: ErrorCode, mode: str
) -> None:
    if mode == "overwrite":
        (workspace / "x").write_text("mine")
    before = files(workspace)
    web.route("/", lambda _: answer)

    found = await tools.code(
        "download", web.url("/", tls=True), path="x", mode=mode, max_mb=1, sha256="0" * 64
    )

    assert found == code
    assert files(workspace) == before


async def test_a_file_of_exactly_the_limit_fits(tools: Tools, web: Web, workspace: Path) -> None:
    web.route("/", lambda _: Answer(bytes(MIB)))

    assert (await tools.download(web.url("/"), path="x", max_mb=1)).bytes == MIB


async def test_a_wrong_digest_names_the_right_one(tools: Tools, web: Web) -> None:
    web.text("/", "hello")

    error = await tools.refused("download", web.url("/"), path="x", sha256="0" * 64)

    assert error.details["sha256"] == hashlib.sha256(b"hello").hexdigest()


async def test_compressed_files_are_kept_as_they_are(
    tools: Tools, web: Web, workspace: Path
) -> None:
    packed = gzip.compress(b"hello")
    headers = {"Content-Encoding": "x-gzip"}
    web.route("/a.tar.gz", lambda _: Answer(packed, headers=headers))

    await tools.download(web.url("/a.tar.gz"), path="a.tar.gz")

    assert files(workspace) == {"a.tar.gz": packed}
    assert web.seen[0].headers["accept-encoding"] == "identity"


async def test_an_empty_file_is_a_file(tools: Tools, web: Web, workspace: Path) -> None:
    web.route("/", lambda _: Answer(b""))

    assert (await tools.download(web.url("/"), path="x")).bytes == 0
    assert files(workspace) == {"x": b""}


async def test_a_full_disk_is_told_and_leaves_nothing(
    tools: Tools, web: Web, workspace: Path
) -> None:
    web.route("/", lambda _: Answer(bytes(3 * MIB)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, hard))
    try:
        error = await tools.refused("download", web.url("/"), path="x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert error.code == ErrorCode.DISK_QUOTA
    assert files(workspace) == {}


async def test_progress_is_told_now_and_then(tools: Tools, web: Web) -> None:
    def body() -> Iterator[bytes]:
        yield OK + b"Content-Length: 1300000\r\n\r\n"
        for _ in range(130):
            time.sleep(0.005)
            yield bytes(10_000)

    web.route("/data.bin", lambda _: Answer(raw=body()))
    started = time.monotonic()

    await tools.download(web.url("/data.bin"), path="x")

    seconds = time.monotonic() - started
    assert {each["total"] for each in tools.events} == {1_300_000}
    assert {each["message"] for each in tools.events} == {"downloading data.bin"}
    done = [each["progress"] for each in tools.events]
    assert done == sorted(done)
    assert 2 <= len(done) <= 2 + seconds * 4


async def test_a_file_that_appears_meanwhile_is_not_replaced(
    tools: Tools, web: Web, workspace: Path
) -> None:
    def route(_request: object) -> Answer:
        (workspace / "x").write_text("mine")
        return Answer(b"theirs")

    web.route("/", route)

    assert await tools.code("download", web.url("/"), path="x") == ErrorCode.ALREADY_EXISTS
    assert files(workspace) == {"x": b"mine"}

    await tools.download(web.url("/"), path="x", mode="overwrite")
    assert files(workspace) == {"x": b"theirs"}


async def test_a_caller_who_leaves_leaves_nothing(
    worker_tools: Tools, web: Web, workspace: Path
) -> None:
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def body() -> Iterator[bytes]:
        yield OK + b"\r\n"
        loop.call_soon_threadsafe(begun.set)
        while True:
            time.sleep(0.01)
            yield bytes(1000)

    web.route("/", lambda _: Answer(raw=body()))
    call = asyncio.create_task(worker_tools.download(web.url("/"), path="a/x"))
    async with asyncio.timeout(20):
        await begun.wait()

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert files(workspace) == {}


async def test_a_download_that_takes_too_long_leaves_nothing(
    worker_tools: Tools, web: Web, workspace: Path
) -> None:
    def body() -> Iterator[bytes]:
        yield OK + b"\r\n"
        while True:
            time.sleep(0.01)
            yield bytes(1000)

    web.route("/", lambda _: Answer(raw=body()))

    with pytest.raises(ToolError) as caught:
        await worker_tools.download(web.url("/"), path="x", timeout_s=1)

    assert caught.value.code == ErrorCode.TIMEOUT
    assert files(workspace) == {}


async def test_pages_do_not_wait_for_downloads(
    worker_tools: Tools, web: Web, workspace: Path
) -> None:
    gate = threading.Event()

    def body() -> Iterator[bytes]:
        yield OK + b"Content-Length: 5\r\n\r\n"
        gate.wait(20)
        yield b"hello"

    web.route("/slow", lambda _: Answer(raw=body()))
    web.text("/", "page", "text/plain")
    calls = [
        asyncio.create_task(worker_tools.download(web.url("/slow"), path=f"{number}"))
        for number in range(6)
    ]
    try:
        assert (await worker_tools.fetch(web.url("/"), timeout_s=15)).content == "page"
    finally:
        gate.set()
    async with asyncio.timeout(30):
        await asyncio.gather(*calls)
    assert set(files(workspace).values()) == {b"hello"}
