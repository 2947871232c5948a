"""Paths stay inside the workspace, whichever way they are written and whatever moves meanwhile."""

import asyncio
import itertools
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tool_plugins.context import Host
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.filesystem.errors import path_errors
from tool_plugins.filesystem.paths import Location, Workspace

OUTSIDE = [
    "../x",
    "sub/../../x",
    "../workspace_evil/secret",
    "/etc/shadow",
    "//etc/shadow",
    "/./workspace/../etc/passwd",
    "/proc/self/root/etc/passwd",
    "/workspace_evil/secret",
    "link_out/passwd",
    "link_up/workspace_evil/secret",
]
MALFORMED = [
    "",
    "a\0.png",
    "ok\0/../x",
    "n" * 5000,
    "n" * 300,
    "d/" * 2000 + "x",
    "lone\udc80surrogate",
    "x/../" + "n/" * 2100,
]


@pytest.fixture(params=[True, False], ids=["openat2", "by hand"])
def opened(request: pytest.FixtureRequest, host: Host, workspace: Path) -> Iterator[Workspace]:
    """The workspace, resolved by the kernel and resolved by hand."""
    (workspace / "sub").mkdir()
    (workspace / "a.txt").write_text("inside")
    (workspace / "link_out").symlink_to("/etc")
    (workspace / "link_up").symlink_to("..")
    (workspace / "link_prefix").symlink_to(f"{workspace}_evil/secret")
    (workspace / "link_in").symlink_to("a.txt")
    (workspace / "sub" / "up").symlink_to("..")
    (workspace / "absolute").symlink_to(workspace / "a.txt")
    (workspace / "chain").symlink_to("sub/up/absolute")
    (workspace / "loop").symlink_to("loop")
    (workspace / "dangling").symlink_to("nothing")
    opened = Workspace(host, use_openat2=request.param)
    yield opened
    asyncio.run(opened.aclose())


def content(workspace: Workspace, path: str) -> bytes:
    with path_errors(path):
        fd = workspace.open(workspace.locate(path), os.O_RDONLY)
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


def code(workspace: Workspace, path: str) -> ErrorCode:
    with pytest.raises(ToolError) as caught:
        content(workspace, path)
    return caught.value.code


@pytest.mark.parametrize("path", [*OUTSIDE, "link_prefix"])
def test_a_path_that_leads_outside_is_not_opened(opened: Workspace, path: str) -> None:
    assert code(opened, path) == ErrorCode.PATH_OUTSIDE_ROOT


@pytest.mark.parametrize(
    "path",
    [
        "a.txt",
        "./a.txt",
        "sub/../a.txt",
        "/workspace/a.txt",
        "link_in",
        "absolute",
        "sub/up/a.txt",
        "chain",
        "sub/up/sub/up/absolute",
    ],
)
def test_a_path_inside_is_opened_through_links_that_stay_inside(
    opened: Workspace, path: str
) -> None:
    assert content(opened, path) == b"inside"


def test_the_real_path_of_the_workspace_is_understood(opened: Workspace, workspace: Path) -> None:
    assert Location(("a.txt",)) == opened.locate(f"{workspace}/a.txt")


def test_a_path_with_dots_is_told_without_them(opened: Workspace) -> None:
    assert Location(("a.txt",)) == opened.locate("sub/up/sub/../sub/./../a.txt")


def test_a_loop_of_links_ends(opened: Workspace) -> None:
    assert code(opened, "loop") == ErrorCode.PATH_OUTSIDE_ROOT


def test_a_slash_at_the_end_wants_a_folder(opened: Workspace) -> None:
    assert code(opened, "a.txt/") == ErrorCode.NOT_DIRECTORY


def test_missing_and_misused_parts_are_told_apart(opened: Workspace) -> None:
    assert code(opened, "dangling") == ErrorCode.NOT_FOUND
    assert code(opened, "nowhere/x") == ErrorCode.NOT_FOUND
    assert code(opened, "a.txt/x") == ErrorCode.NOT_DIRECTORY


def test_no_descriptor_is_left_open(opened: Workspace) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for path in ["chain/x", "dangling", "loop", "link_out/passwd", "a.txt/x", "sub/../../x"]:
        code(opened, path)
    content(opened, "sub/up/sub/../a.txt")

    assert before == len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("verb", ["read", "list", "grep", "delete"])
def test_every_tool_refuses_what_is_outside(tools, opened, tmp_path, verb, path) -> None:
    more = {"pattern": "x"} if verb == "grep" else {}

    assert tools.code(verb, path=path, **more) == ErrorCode.PATH_OUTSIDE_ROOT
    assert (tmp_path / "workspace_evil" / "secret").read_text() == "secret"


@pytest.mark.parametrize("path", [*OUTSIDE, "link_prefix"])
def test_nothing_is_written_outside(tools, opened, tmp_path, path) -> None:
    for mode in ("overwrite", "append"):
        refused = tools.code("write", path=path, content="evil", mode=mode)
        assert refused == ErrorCode.PATH_OUTSIDE_ROOT
    refused = tools.code("edit", path=path, edits=[{"old": "secret", "new": "evil"}])
    assert refused == ErrorCode.PATH_OUTSIDE_ROOT
    refused = tools.code("move", source="a.txt", destination=path + "/x")
    assert refused == ErrorCode.PATH_OUTSIDE_ROOT
    assert os.listdir(tmp_path / "workspace_evil") == ["secret"]
    assert (tmp_path / "workspace_evil" / "secret").read_text() == "secret"


@pytest.mark.parametrize("path", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_path_is_refused(host: Host, path: str) -> None:
    with pytest.raises(ToolError) as caught:
        host.service(Workspace).locate(path)

    assert ErrorCode.INVALID_ARGUMENT is caught.value.code
    assert len(caught.value.message.encode()) < 500


def test_a_tilde_is_an_ordinary_name(tools) -> None:
    error = tools.refused("read", path="~/x")

    assert ErrorCode.NOT_FOUND is error.code
    assert "'~' is not expanded" in error.hint


def test_an_encoded_traversal_is_an_ordinary_name(tools) -> None:
    assert tools.code("read", path="%2e%2e%2fetc") == ErrorCode.NOT_FOUND


@pytest.mark.parametrize("mode", ["create", "overwrite", "append"])
def test_a_file_is_not_created_through_a_dangling_link(tools, workspace, tmp_path, mode) -> None:
    (workspace / "in").symlink_to("missing")
    (workspace / "out").symlink_to("../workspace_evil/new")

    assert tools.code("write", path="in", content="x", mode=mode) == ErrorCode.NOT_FOUND
    assert tools.code("write", path="out", content="x", mode=mode) == ErrorCode.PATH_OUTSIDE_ROOT
    assert os.listdir(tmp_path / "workspace_evil") == ["secret"]
    assert sorted(os.listdir(workspace)) == ["in", "out"]


@pytest.mark.parametrize("verb", ["read", "write", "edit"])
@pytest.mark.parametrize("kind", ["fifo", "socket", "folder"])
def test_what_is_not_a_regular_file_is_refused_without_waiting(
    tools, workspace, monkeypatch, verb, kind
) -> None:
    monkeypatch.chdir(workspace)
    if kind == "fifo":
        os.mkfifo("it")
    elif kind == "folder":
        Path("it").mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("it")
    more = {
        "read": {},
        "write": {"content": "x", "mode": "overwrite"},
        "edit": {"edits": [{"old": "a", "new": "b"}]},
    }[verb]

    expected = ErrorCode.IS_DIRECTORY if kind == "folder" else ErrorCode.NOT_REGULAR_FILE
    assert expected == tools.code(verb, path="it", **more)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")
def test_a_device_is_not_read(tools, workspace) -> None:
    os.mknod(workspace / "zero", 0o20666, os.makedev(1, 5))

    assert tools.code("read", path="zero") == ErrorCode.NOT_REGULAR_FILE


def attempts(least: int, enough: Callable[[], bool]) -> Iterator[int]:
    """Numbers of attempts: so many, and on until the race was seen both ways, within a minute.

    On a busy machine the thread that flips may stand still for long.
    """
    deadline = time.monotonic() + 60
    for number in itertools.count():
        if number >= least and (enough() or time.monotonic() > deadline):
            return
        yield number


def test_a_file_that_flips_to_a_link_is_never_read_outside(tools, workspace, tmp_path) -> None:
    """The race of check-then-open: a name that is now a link outside, now a file inside."""
    secret = tmp_path / "workspace_evil" / "secret"
    stop = threading.Event()

    def flip() -> None:
        while not stop.is_set():
            (workspace / "race.l").symlink_to(secret)
            (workspace / "race.l").rename(workspace / "race")
            (workspace / "race.f").write_text("inside")
            (workspace / "race.f").rename(workspace / "race")

    flipper = threading.Thread(target=flip)
    flipper.start()
    seen: set[str] = set()
    try:
        both = {"1→inside", ErrorCode.PATH_OUTSIDE_ROOT}
        for _ in attempts(1500, lambda: both <= seen):
            try:
                seen.add(tools.read(path="race").content)
            except ToolError as error:
                seen.add(error.code)
    finally:
        stop.set()
        flipper.join()

    assert "1→secret" not in seen
    assert both <= seen


def test_a_folder_that_flips_to_a_link_takes_no_write_outside(tools, workspace, tmp_path) -> None:
    outside = tmp_path / "workspace_evil"
    (workspace / "real").mkdir()
    (workspace / "flip").symlink_to("real")
    stop = threading.Event()

    def flip() -> None:
        while not stop.is_set():
            for target in (outside, "real"):
                (workspace / "flip.new").symlink_to(target)
                (workspace / "flip.new").rename(workspace / "flip")

    flipper = threading.Thread(target=flip)
    flipper.start()
    seen: Counter[str] = Counter()
    try:
        for number in attempts(700, lambda: len(seen) == 2):
            try:
                tools.write(path=f"flip/{number}", content="evil")
                seen["written"] += 1
            except ToolError:
                seen["refused"] += 1
    finally:
        stop.set()
        flipper.join()

    assert os.listdir(outside) == ["secret"]
    assert seen["written"] == len(os.listdir(workspace / "real"))
    assert seen["refused"]
