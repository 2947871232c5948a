"""Streams of files and folders between this machine and a sandbox."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox_sdk import Sandbox, SandboxGroup, ToolCallError


@pytest.fixture
async def sandbox(group: SandboxGroup) -> AsyncIterator[Sandbox]:
    async with await group.create_sandbox() as sandbox:
        yield sandbox


async def pieces() -> AsyncIterator[bytes]:
    for number in range(1000):
        yield b"%04d" % number


async def test_an_uploaded_file_downloads_again(sandbox: Sandbox) -> None:
    uploaded = await sandbox.upload("data/file.bin", pieces())

    content = b"".join([piece async for piece in sandbox.download("data/file.bin")])
    assert (uploaded.path, uploaded.bytes) == ("data/file.bin", 4000)
    assert content == b"".join(b"%04d" % number for number in range(1000))


async def test_a_transfer_that_cannot_be_done_is_raised(sandbox: Sandbox) -> None:
    await sandbox.upload("file", b"first")

    with pytest.raises(ToolCallError) as taken:
        await sandbox.upload("file", b"second", mode="create")
    with pytest.raises(ToolCallError) as missing:
        _ = [piece async for piece in sandbox.download("none")]

    assert (taken.value.code, missing.value.code) == ("ALREADY_EXISTS", "NOT_FOUND")


async def test_a_folder_goes_there_and_back(sandbox: Sandbox, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "sub").mkdir(parents=True)
    (source / "a.txt").write_text("a")
    (source / "sub" / "b.txt").write_text("b")

    await sandbox.upload_folder(source, "project")
    assert (await sandbox.filesystem.read("project/sub/b.txt")).content == "1→b"
    copied = await sandbox.download_folder("project", target)

    assert copied.files == 2
    assert (target / "sub" / "b.txt").read_text() == "b"


async def test_a_watch_tells_of_changes_from_its_first_moment(sandbox: Sandbox) -> None:
    async with asyncio.timeout(10), sandbox.watch(".") as changes:
        await sandbox.filesystem.write("seen.txt", "1")

        assert (await anext(changes)).path == "seen.txt"
