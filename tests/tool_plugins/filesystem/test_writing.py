"""Writing: never by accident over something, and never less than all of it."""

import base64
import hashlib
import os
import resource
import signal
import stat
import subprocess
import threading

import pytest

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.filesystem.paths import Workspace
from tool_plugins.filesystem.writing import Draft, open_target


def leftovers(workspace) -> list[str]:
    return [name for name in os.listdir(workspace) if name.startswith(".sandbox-draft-")]


def test_a_new_file_is_created_with_its_parents(tools, workspace) -> None:
    result = tools.write(path="a/b/c.txt", content="hällo\n")

    data = (workspace / "a/b/c.txt").read_bytes()
    assert "hällo\n".encode() == data
    assert (result.path, result.bytes, result.created, result.diff) == (
        "a/b/c.txt",
        len(data),
        True,
        None,
    )
    assert hashlib.sha256(data).hexdigest() == result.sha256


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_modes_do_not_depend_on_the_umask(tools, workspace, umask) -> None:
    before = os.umask(umask)
    try:
        tools.write(path="plain", content="")
        tools.write(path="run", content="", executable=True)
    finally:
        os.umask(before)

    assert stat.S_IMODE((workspace / "plain").stat().st_mode) == 0o644
    assert stat.S_IMODE((workspace / "run").stat().st_mode) == 0o755


def test_create_never_touches_an_existing_file(tools, workspace) -> None:
    (workspace / "f").write_text("keep")

    assert tools.code("write", path="f", content="x") == ErrorCode.ALREADY_EXISTS
    assert (workspace / "f").read_text() == "keep"


def test_overwrite_shows_what_changed(tools, workspace) -> None:
    (workspace / "f").write_bytes(b"one\ntwo\n")

    result = tools.write(path="f", content="one\n2\n", mode="overwrite")

    assert (workspace / "f").read_bytes() == b"one\n2\n"
    assert result.diff == "--- f\n+++ f\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n"
    assert not result.created


def test_append_adds_at_the_end_and_creates(tools, workspace) -> None:
    tools.write(path="log", content="a\n", mode="append")
    result = tools.write(path="log", content="b", mode="append")

    assert (workspace / "log").read_bytes() == b"a\nb"
    assert (result.bytes, result.size) == (1, 3)
    assert hashlib.sha256(b"a\nb").hexdigest() == result.sha256


def test_bytes_are_written_as_they_are(tools, workspace) -> None:
    data = bytes(range(256)) * 3

    tools.write(path="f", content=base64.b64encode(data).decode(), encoding="base64")
    tools.write(path="g", content="a\r\nb\rc\n\u2028")

    assert data == (workspace / "f").read_bytes()
    assert (workspace / "g").read_bytes() == b"a\r\nb\rc\n\xe2\x80\xa8"


def test_content_that_is_not_base64_is_refused(tools, workspace) -> None:
    refused = tools.code("write", path="f", content="not base64!", encoding="base64")

    assert refused == ErrorCode.INVALID_ARGUMENT
    assert os.listdir(workspace) == []


def test_more_than_ten_megabytes_are_refused(tools, workspace) -> None:
    tools.write(path="f", content="x" * (10 << 20))

    assert tools.code("write", path="g", content="x" * ((10 << 20) + 1)) == ErrorCode.TOO_LARGE
    assert os.listdir(workspace) == ["f"]


@pytest.mark.parametrize("mode", ["overwrite", "append"])
def test_a_stale_file_is_not_written(tools, workspace, mode) -> None:
    (workspace / "f").write_text("now")
    seen = hashlib.sha256(b"before").hexdigest()

    error = tools.refused("write", path="f", content="x", mode=mode, expected_sha256=seen)

    assert ErrorCode.STALE_FILE is error.code
    assert hashlib.sha256(b"now").hexdigest() == error.details["sha256"]
    assert (workspace / "f").read_text() == "now"
    gone = tools.code("write", path="g", content="x", mode=mode, expected_sha256=seen)
    assert gone == ErrorCode.STALE_FILE
    current = hashlib.sha256(b"now").hexdigest().upper()
    tools.write(path="f", content="x", mode="overwrite", expected_sha256=current)


@pytest.mark.parametrize("how", ["write", "edit", "append"])
def test_mode_owner_and_hard_links_are_kept(tools, workspace, how) -> None:
    file = workspace / "f"
    file.write_text("old\n")
    file.chmod(0o4751)
    os.link(file, workspace / "twin")
    (workspace / "link").symlink_to("f")
    before = file.stat()

    for path in ("f", "link"):
        if how == "edit":
            tools.edit(path=path, edits=[{"old": "o", "new": "oo"}])
            file.write_text("old\n")
            tools.edit(path=path, edits=[{"old": "old", "new": "new"}])
        else:
            mode = "append" if how == "append" else "overwrite"
            tools.write(path=path, content="new\n", mode=mode)
        assert (workspace / "twin").read_text().endswith("new\n")
        file.write_text("old\n")
        file.chmod(0o4751)

    after = file.stat()
    assert (before.st_ino, before.st_mode, before.st_uid, before.st_gid, 2) == (
        after.st_ino,
        after.st_mode,
        after.st_uid,
        after.st_gid,
        after.st_nlink,
    )
    assert (workspace / "link").is_symlink()
    assert leftovers(workspace) == []


def test_a_single_file_keeps_its_mode_though_it_is_replaced(tools, workspace) -> None:
    file = workspace / "run.sh"
    file.write_text("echo 1\n")
    file.chmod(0o755)

    tools.edit(path="run.sh", edits=[{"old": "1", "new": "2"}])
    assert stat.S_IMODE(file.stat().st_mode) == 0o755
    tools.write(path="run.sh", content="", mode="overwrite", executable=False)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    tools.write(path="run.sh", content="", mode="append", executable=True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o755


def test_a_link_to_a_link_inside_is_written_through(tools, workspace) -> None:
    (workspace / "d").mkdir()
    (workspace / "d/f").write_text("old")
    (workspace / "one").symlink_to("d/two")
    (workspace / "d/two").symlink_to(workspace / "d" / "f")

    tools.write(path="one", content="new", mode="overwrite")

    assert (workspace / "d/f").read_text() == "new"
    assert (workspace / "one").is_symlink()
    assert (workspace / "d/two").is_symlink()
    assert sorted(os.listdir(workspace / "d")) == ["f", "two"]


@pytest.fixture
def small_disk():
    """Files cannot grow past 100 kB: what a full disk does, without a disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("mode", ["create", "overwrite", "append"])
@pytest.mark.parametrize("linked", [False, True])
def test_a_write_that_does_not_fit_changes_nothing(
    tools, workspace, small_disk, mode, linked
) -> None:
    name = "new" if mode == "create" else "f"
    (workspace / "f").write_text("keep")
    if linked:
        os.link(workspace / "f", workspace / "twin")
    before = sorted(os.listdir(workspace))

    refused = tools.code("write", path=name, content="x" * 200_000, mode=mode)

    assert refused == ErrorCode.DISK_QUOTA
    assert (workspace / "f").read_text() == "keep"
    assert before == sorted(os.listdir(workspace))


@pytest.fixture
def as_another_user(host, workspace):
    """The rest of the test has an ordinary user's rights, as the agent's files have."""
    host.service(Workspace)
    if os.geteuid() != 0:
        yield
        return
    os.chown(workspace, 65534, 65534)
    os.setegid(65534)
    os.seteuid(65534)
    yield
    os.seteuid(0)
    os.setegid(0)


@pytest.mark.parametrize("mode", ["overwrite", "append"])
def test_a_file_that_may_not_be_written_is_not_replaced(
    tools, workspace, as_another_user, mode
) -> None:
    tools.write(path="f", content="keep")
    os.chmod("f", 0o444, dir_fd=tools.host.service(Workspace).root)

    refused = tools.code("write", path="f", content="x", mode=mode)

    assert refused == ErrorCode.PERMISSION_DENIED
    assert tools.read(path="f").content == "1→keep"
    assert tools.code("read", path="../workspace_evil/secret") == ErrorCode.PATH_OUTSIDE_ROOT


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_of_a_file_is_kept(tools, workspace) -> None:
    (workspace / "f").write_text("old")
    os.chown(workspace / "f", 1234, 2345)

    tools.write(path="f", content="new", mode="overwrite")

    status = (workspace / "f").stat()
    assert (status.st_uid, status.st_gid) == (1234, 2345)
    assert (workspace / "f").read_text() == "new"


def test_a_name_that_names_a_folder_is_refused(tools, workspace) -> None:
    (workspace / "d").mkdir()

    for path in (".", "d", "d/", "new/"):
        assert (
            tools.code("write", path=path, content="x", mode="overwrite") == ErrorCode.IS_DIRECTORY
        )
    assert _under_a_file(tools, workspace) == ErrorCode.NOT_DIRECTORY


def _under_a_file(tools, workspace) -> ErrorCode:
    (workspace / "file").write_text("")
    return tools.code("write", path="file/x", content="x")


def test_of_many_who_write_what_they_read_one_wins(tools, workspace) -> None:
    (workspace / "f").write_text("start\n")
    seen = tools.read(path="f").sha256
    outcomes: list[str] = []
    together = threading.Barrier(8)

    def change(number: int) -> None:
        together.wait(5)
        try:
            tools.edit(path="f", edits=[{"old": "start", "new": f"{number}"}], expected_sha256=seen)
            outcomes.append("won")
        except ToolError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=change, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outcomes.count("won") == 1
    assert outcomes.count(ErrorCode.STALE_FILE) == 7


def test_of_many_who_create_one_wins(tools, workspace) -> None:
    outcomes: list[str] = []
    together = threading.Barrier(8)

    def create(number: int) -> None:
        together.wait(5)
        try:
            tools.write(path="deep/er/f", content=str(number))
            outcomes.append("won")
        except ToolError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=create, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == [ErrorCode.ALREADY_EXISTS] * 7 + ["won"]


@pytest.mark.parametrize("change", ["rewritten", "replaced", "deleted"])
def test_what_another_program_does_meanwhile_is_not_undone(tools, workspace, change) -> None:
    (workspace / "f").write_text("old")
    opened = tools.host.service(Workspace)
    with open_target(opened, opened.locate("f"), create_parents=False) as target:
        draft = Draft(target.folder)
        draft.write(b"new")
        if change != "rewritten":
            (workspace / "f").unlink()
        if change != "deleted":
            (workspace / "f").write_text("theirs")
        with pytest.raises(ToolError) as caught:
            draft.publish(target, executable=None)

    assert caught.value.code is ErrorCode.STALE_FILE
    assert os.listdir(workspace) == ([] if change == "deleted" else ["f"])


@pytest.fixture
def tiny_disk(workspace):
    """The workspace is a disk of 100 kB."""
    command = ["mount", "-t", "tmpfs", "-o", "size=100k", "none", str(workspace)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield workspace
    subprocess.run(["umount", "-l", str(workspace)], check=True)


def test_a_linked_file_is_put_back_when_the_disk_fills_up(tiny_disk, tools) -> None:
    (tiny_disk / "f").write_text("k" * 10_000)
    os.link(tiny_disk / "f", tiny_disk / "twin")

    refused = tools.code("write", path="f", content="x" * 60_000, mode="overwrite")

    assert refused == ErrorCode.DISK_QUOTA
    assert (tiny_disk / "twin").read_text() == "k" * 10_000
    assert sorted(os.listdir(tiny_disk)) == ["f", "twin"]
    tools.write(path="f", content="x" * 20_000, mode="overwrite")
    assert (tiny_disk / "twin").read_text() == "x" * 20_000
