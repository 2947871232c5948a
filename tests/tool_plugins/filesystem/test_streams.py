"""Files and folders as streams: whole or not at all, and never through a link."""

import hashlib
import os
import stat
from contextlib import suppress

import pytest

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.filesystem.streams import (
    FileUpload,
    FolderUpload,
    folder_path,
    open_folder,
    open_for_download,
    open_in_folder,
    walk_folder,
    write_all,
)

NOT_A_FOLDER = r"Not a directory|symbolic links"


@pytest.fixture
def folder(host, workspace):
    fd = open_folder(host, "into", create=True)
    yield fd
    os.close(fd)


def test_an_upload_appears_whole_at_commit(host, workspace) -> None:
    with FileUpload(host, "a/b/f") as upload:
        upload.write(b"one ")
        upload.write(b"two")
        assert not (workspace / "a/b/f").exists()
        answer = upload.commit()

    digest = hashlib.sha256(b"one two").hexdigest()
    assert answer == {"path": "a/b/f", "bytes": 7, "sha256": digest}
    assert os.listdir(workspace / "a/b") == ["f"]
    assert stat.S_IMODE((workspace / "a/b/f").stat().st_mode) == 0o644


def test_an_upload_that_stops_leaves_nothing(host, workspace) -> None:
    (workspace / "f").write_text("keep")

    upload = FileUpload(host, "f")
    with suppress(ConnectionError), upload:
        upload.write(b"half")
        raise ConnectionError
    with pytest.raises(RuntimeError):
        upload.commit()

    assert os.listdir(workspace) == ["f"]
    assert (workspace / "f").read_text() == "keep"


def test_an_upload_replaces_what_is_there_at_its_end(host, workspace) -> None:
    (workspace / "f").write_text("old")
    (workspace / "f").chmod(0o700)

    with FileUpload(host, "f", executable=True) as upload:
        upload.write(b"new")
        (workspace / "f").unlink()
        (workspace / "f").write_text("written meanwhile")
        upload.commit()

    assert (workspace / "f").read_text() == "new"
    assert os.access(workspace / "f", os.X_OK)


def test_a_created_upload_never_replaces(host, workspace) -> None:
    with FileUpload(host, "f", mode="create") as upload:
        upload.write(b"new")
        (workspace / "f").write_text("first")
        with pytest.raises(ToolError) as caught:
            upload.commit()

    assert caught.value.code is ErrorCode.ALREADY_EXISTS
    assert (workspace / "f").read_text() == "first"
    assert os.listdir(workspace) == ["f"]
    with pytest.raises(ToolError):
        FileUpload(host, "f", mode="create").begin()


@pytest.mark.parametrize("path", ["../x", "/etc/x", "out/x", "folder", "."])
def test_an_upload_goes_nowhere_else(host, workspace, path) -> None:
    (workspace / "out").symlink_to("/tmp")
    (workspace / "folder").mkdir()
    before = len(os.listdir("/proc/self/fd"))

    with pytest.raises(ToolError) as caught:
        FileUpload(host, path).begin()

    assert caught.value.code in (ErrorCode.PATH_OUTSIDE_ROOT, ErrorCode.IS_DIRECTORY)
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # the workspace itself


def test_a_download_gives_the_file_and_its_size(host, workspace) -> None:
    (workspace / "f").write_bytes(b"12345")

    fd, size = open_for_download(host, "f")
    try:
        assert (os.read(fd, 100), size) == (b"12345", 5)
    finally:
        os.close(fd)
    os.mkfifo(workspace / "pipe")
    for path, code in (
        ("pipe", ErrorCode.NOT_REGULAR_FILE),
        (".", ErrorCode.IS_DIRECTORY),
        ("none", ErrorCode.NOT_FOUND),
        ("../workspace_evil/secret", ErrorCode.PATH_OUTSIDE_ROOT),
    ):
        with pytest.raises(ToolError) as caught:
            open_for_download(host, path)
        assert caught.value.code is code


def test_a_folder_is_filled_and_walked(host, workspace, folder) -> None:
    upload = FolderUpload(folder)
    upload.add_folder("d/e", 0o750)
    fd = upload.open_file("d/e/f", executable=True)
    write_all(fd, b"x" * 100_000)
    os.close(fd)
    os.close(upload.open_file("plain"))
    upload.add_link("d/link", "e/f")
    os.mkfifo(workspace / "into/pipe")
    (workspace / "into/.sandbox-draft-0").write_text("")

    entries = {entry.path: entry for entry in walk_folder(folder)}

    assert {path: entry.kind for path, entry in entries.items()} == {
        "d": "directory",
        "d/e": "directory",
        "d/e/f": "file",
        "d/link": "symlink",
        "pipe": "fifo",
        "plain": "file",
    }
    assert entries["d/link"].target == "e/f"
    assert stat.S_IMODE(entries["d/e"].status.st_mode) == 0o750
    assert stat.S_IMODE(entries["d/e/f"].status.st_mode) == 0o755
    assert list(entries).index("d") < list(entries).index("d/e/f")
    fd = open_in_folder(folder, "d/e/f")
    assert os.fstat(fd).st_size == 100_000
    os.close(fd)
    assert folder_path(folder) == str(workspace / "into")


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "", ".", "a\0b"])
def test_members_with_other_paths_are_refused(folder, path) -> None:
    for add in (
        FolderUpload(folder).open_file,
        FolderUpload(folder).add_folder,
        lambda p: FolderUpload(folder).add_link(p, "x"),
    ):
        with pytest.raises(ToolError) as caught:
            add(path)
        assert caught.value.code is ErrorCode.INVALID_ARGUMENT


def test_members_are_never_written_through_a_link(workspace, tmp_path, folder) -> None:
    upload = FolderUpload(folder)
    outside = tmp_path / "workspace_evil"
    upload.add_link("file", str(outside / "secret"))
    upload.add_link("folder", str(outside))

    os.close(upload.open_file("file"))
    with pytest.raises(OSError, match=NOT_A_FOLDER):
        upload.open_file("folder/new")
    with pytest.raises(OSError, match=NOT_A_FOLDER):
        os.close(open_in_folder(folder, "folder/secret"))

    assert (outside / "secret").read_text() == "secret"
    assert os.listdir(outside) == ["secret"]
    assert not (workspace / "into/file").is_symlink()


def test_a_folder_that_is_missing_is_made_only_when_asked(host, workspace) -> None:
    with pytest.raises(ToolError) as caught:
        open_folder(host, "x/y")
    assert caught.value.code is ErrorCode.NOT_FOUND

    os.close(open_folder(host, "x/y", create=True))
    os.close(open_folder(host, "x/y"))
    assert (workspace / "x/y").is_dir()
