"""Moving, copying and deleting: nothing is lost by accident, nothing outside is touched."""

import os
import stat

import pytest

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.filesystem.trees import Cursor


@pytest.fixture
def tree(workspace):
    """A small tree with a link, an empty folder and a mode of its own."""
    (workspace / "src/deep").mkdir(parents=True)
    (workspace / "src/empty").mkdir()
    (workspace / "src/run").write_text("#!/bin/sh\n")
    (workspace / "src/run").chmod(0o750)
    (workspace / "src/deep/link").symlink_to("../run")
    (workspace / "src/deep/out").symlink_to("../../../workspace_evil/secret")
    (workspace / "src/deep").chmod(0o711)
    return workspace / "src"


def test_a_file_is_renamed_into_new_folders(tools, workspace) -> None:
    (workspace / "f").write_text("x")

    result = tools.move(source="f", destination="a/b/g")

    assert (workspace / "a/b/g").read_text() == "x"
    assert not (workspace / "f").exists()
    assert (result.path, result.source, result.copied, result.entries) == ("a/b/g", "f", False, 1)


@pytest.mark.parametrize("copy", [False, True])
def test_an_existing_destination_is_never_lost(tools, workspace, copy) -> None:
    (workspace / "f").write_text("new")
    (workspace / "g").write_text("keep")
    (workspace / "d").mkdir()

    for destination in ("g", "d"):
        error = tools.refused("move", source="f", destination=destination, copy=copy)
        assert error.code is ErrorCode.ALREADY_EXISTS
    assert (workspace / "g").read_text() == "keep"
    assert (workspace / "f").read_text() == "new"
    assert sorted(os.listdir(workspace)) == ["d", "f", "g"]


@pytest.mark.parametrize("copy", [False, True])
def test_overwrite_replaces_a_file(tools, workspace, copy) -> None:
    (workspace / "f").write_text("new")
    (workspace / "g").write_text("old")

    tools.move(source="f", destination="g", copy=copy, overwrite=True)

    assert (workspace / "g").read_text() == "new"
    assert (workspace / "f").exists() is copy


def test_overwrite_does_not_replace_a_full_folder(tools, tree, workspace) -> None:
    (workspace / "other/x").mkdir(parents=True)

    for copy in (False, True):
        refused = tools.code("move", source="src", destination="other", overwrite=True, copy=copy)
        assert refused == ErrorCode.NOT_EMPTY
    assert sorted(os.listdir(workspace)) == ["other", "src"]


def test_a_copy_of_a_tree_is_the_same_tree(tools, tree, workspace) -> None:
    result = tools.move(source="src", destination="dst", copy=True)

    copied = workspace / "dst"
    assert result.entries == 6
    assert (copied / "run").read_text() == "#!/bin/sh\n"
    assert stat.S_IMODE((copied / "run").stat().st_mode) == 0o750
    assert stat.S_IMODE((copied / "deep").stat().st_mode) == 0o711
    assert os.readlink(copied / "deep/out") == "../../../workspace_evil/secret"
    assert sorted(os.listdir(copied)) == ["deep", "empty", "run"]
    assert tree.exists()


@pytest.mark.parametrize("copy", [False, True])
def test_a_folder_does_not_go_into_itself(tools, tree, workspace, copy) -> None:
    for destination in ("src/deep/in", "src/new"):
        refused = tools.code("move", source="src", destination=destination, copy=copy)
        assert refused == ErrorCode.INVALID_ARGUMENT
    assert sorted(os.listdir(tree)) == ["deep", "empty", "run"]


def test_a_copy_that_fails_leaves_nothing(tools, tree, workspace) -> None:
    os.mkfifo(tree / "deep/pipe")

    refused = tools.code("move", source="src", destination="dst", copy=True)

    assert refused == ErrorCode.NOT_REGULAR_FILE
    assert os.listdir(workspace) == ["src"]


def test_a_link_is_moved_copied_and_deleted_as_a_link(tools, workspace, tmp_path) -> None:
    (workspace / "link").symlink_to("../workspace_evil/secret")

    tools.move(source="link", destination="moved")
    tools.move(source="moved", destination="copied", copy=True)
    assert os.readlink(workspace / "copied") == "../workspace_evil/secret"
    for name in ("moved", "copied"):
        assert tools.delete(path=name).deleted_count == 1
    assert (tmp_path / "workspace_evil/secret").read_text() == "secret"


def test_deleting_a_link_to_a_folder_keeps_the_folder(tools, tree, workspace) -> None:
    (workspace / "link").symlink_to("src")

    tools.delete(path="link", recursive=True)

    assert (tree / "run").exists()


def test_a_full_folder_is_deleted_only_when_asked(tools, tree, workspace, tmp_path) -> None:
    error = tools.refused("delete", path="src")

    assert error.code is ErrorCode.NOT_EMPTY
    assert "recursive" in error.hint
    assert (tree / "run").exists()
    assert tools.delete(path="src", recursive=True).deleted_count == 6
    assert os.listdir(workspace) == []
    assert (tmp_path / "workspace_evil/secret").exists()


@pytest.mark.parametrize("path", [".", "/workspace", "./", "src/.."])
def test_the_workspace_itself_is_neither_deleted_nor_moved(tools, tree, path) -> None:
    for verb, arguments in (
        ("delete", {"path": path, "recursive": True}),
        ("move", {"source": path, "destination": "x"}),
        ("move", {"source": "src", "destination": path, "overwrite": True}),
    ):
        assert tools.code(verb, **arguments) == ErrorCode.INVALID_ARGUMENT
    assert (tree / "run").exists()


def test_what_is_missing_is_not_found(tools, workspace) -> None:
    (workspace / "f").write_text("")

    assert tools.code("delete", path="nothing") == ErrorCode.NOT_FOUND
    assert tools.code("move", source="nothing", destination="x") == ErrorCode.NOT_FOUND
    assert tools.code("delete", path="f/") == ErrorCode.NOT_DIRECTORY
    assert tools.code("move", source="f", destination="f/x") == ErrorCode.NOT_DIRECTORY


def make_deep(root, depth: int) -> None:
    fd = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=fd))
    os.close(fd)


@pytest.mark.parametrize("depth", [300, 1200])
def test_very_deep_folders_are_copied_and_deleted(tools, workspace, depth) -> None:
    (workspace / "top").mkdir()
    make_deep(workspace / "top", depth)

    assert tools.move(source="top", destination="copy", copy=True).entries == depth + 2
    for name in ("top", "copy"):
        assert tools.delete(path=name, recursive=True).deleted_count == depth + 2
    assert os.listdir(workspace) == []


def test_a_folder_that_is_moved_away_stops_the_work(workspace) -> None:
    (workspace / "top/in").mkdir(parents=True)
    (workspace / "elsewhere").mkdir()
    fd = os.open(workspace, os.O_RDONLY)
    cursor = Cursor(fd, "top")
    try:
        cursor.down("in")
        (workspace / "top/in").rename(workspace / "elsewhere/in")
        with pytest.raises(ToolError) as caught:
            cursor.up()
    finally:
        cursor.close()
        os.close(fd)

    assert caught.value.code is ErrorCode.BUSY
