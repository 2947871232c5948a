"""What is noticed of files that an operator changes on disk."""

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox_sdk.tools.watching import Watched


def edit(root: Path) -> None:
    (root / "tools" / "a.py").write_text("other = 1")


def move_into_its_place(root: Path) -> None:
    (root / "new").write_text("a")
    (root / "new").replace(root / "tools" / "a.py")


def lead_the_link_elsewhere(root: Path) -> None:
    os.symlink("second", root / "new")
    (root / "new").replace(root / "current")


def make_the_folder_anew(root: Path) -> None:
    shutil.rmtree(root / "tools")
    (root / "tools").mkdir()
    (root / "tools" / "a.py").write_text("a")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of tools: a file, a link through another link, and what is no file of tools."""
    for name in ("tools", "first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "linked.py").write_text(name)
    (tmp_path / "current").symlink_to("first")
    tools = tmp_path / "tools"
    (tools / "linked.py").unlink()
    (tools / "linked.py").symlink_to("../current/linked.py")
    (tools / "a.py").write_text("a")
    (tools / "loop.py").symlink_to("loop.py")
    os.mkfifo(tools / "pipe.py")
    (tools / os.fsdecode(b"\xff.py")).write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (edit, {"a.py"}),
        (move_into_its_place, {"a.py"}),
        (lead_the_link_elsewhere, {"linked.py"}),
        (make_the_folder_anew, {"a.py", "linked.py", "\udcff.py"}),
    ],
)
async def test_every_way_to_change_a_file_is_noticed(
    root: Path, change: Callable[[Path], None], names: set[str]
) -> None:
    watched = Watched([root / "tools"])
    assert {path.name for path in watched.present()} == {"a.py", "linked.py", "\udcff.py"}

    # Before anybody follows it: files are read meanwhile.
    await asyncio.to_thread(change, root)

    assert {path.name for path in await anext(watched.changes())} == names


async def test_a_folder_that_comes_back_is_followed_again(root: Path) -> None:
    watched = Watched([root / "tools"])
    watched.present()
    changes = watched.changes()

    await asyncio.to_thread(shutil.rmtree, root / "tools")
    gone = await anext(changes)
    await asyncio.to_thread((root / "tools").mkdir)
    await asyncio.to_thread((root / "tools" / "b.py").write_text, "")
    back = await anext(changes)

    assert len(gone) == 3
    assert {path.name for path in back} == {"b.py"}
