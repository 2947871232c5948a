"""Listing and finding by name: fair shares, ignored files, patterns that cannot explode."""

import os
import socket

import pytest

from tool_plugins.errors import ErrorCode
from tool_plugins.filesystem.patterns import PathPattern, compile_glob

from .test_moving import make_deep


def paths(result) -> list[str]:
    return [entry.path for entry in result.entries]


def touch(workspace, *names: str) -> None:
    for name in names:
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace / name).write_text("")


def test_entries_say_what_they_are(tools, workspace, monkeypatch) -> None:
    monkeypatch.chdir(workspace)
    (workspace / "file").write_text("12345")
    (workspace / "file").chmod(0o640)
    os.utime(workspace / "file", (0, 0))
    (workspace / "folder").mkdir()
    (workspace / "link").symlink_to("../nowhere")
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")

    entries = {entry.path: entry for entry in tools.list().entries}

    assert {path: entry.type for path, entry in entries.items()} == {
        "file": "file",
        "folder": "directory",
        "link": "symlink",
        "pipe": "fifo",
        "socket": "socket",
    }
    file = entries["file"]
    assert (file.size, file.mode, file.mtime) == (5, "0640", "1970-01-01T00:00:00Z")
    assert entries["link"].target == "../nowhere"
    assert file.target is None


def test_a_file_is_described(tools, workspace) -> None:
    touch(workspace, "d/f")

    assert paths(tools.list(path="d/f")) == ["d/f"]
    assert tools.code("list", path="d/g") == ErrorCode.NOT_FOUND


def test_depth_limits_the_levels_and_links_are_not_entered(tools, workspace) -> None:
    touch(workspace, "a/b/c/d")
    (workspace / "loop").symlink_to(".")

    assert paths(tools.list()) == ["a", "loop"]
    assert paths(tools.list(depth=3)) == ["a", "loop", "a/b", "a/b/c"]
    assert paths(tools.list(path="loop/a", depth=2)) == ["loop/a/b", "loop/a/b/c"]


def test_a_huge_folder_does_not_hide_its_neighbours(tools, workspace) -> None:
    touch(workspace, *(f"big/{n:04}" for n in range(700)), "small/one", "small/two")

    result = tools.list(depth=2, max_entries=100)

    assert {"big", "small", "small/one", "small/two"} <= set(paths(result))
    assert len(result.entries) == 100
    assert (result.truncated, result.omitted) == (True, 604)


def test_huge_folders_share_what_there_is(tools, workspace) -> None:
    touch(workspace, *(f"{name}/{n:03}" for name in "ab" for n in range(300)))

    shown = paths(tools.list(depth=2, max_entries=102))

    assert len([path for path in shown if path.startswith("a/")]) == 50
    assert len([path for path in shown if path.startswith("b/")]) == 50


def test_hidden_and_ignored_names_are_left_out_unless_asked_for(tools, workspace) -> None:
    touch(workspace, ".git/config", ".env", "kept.log", "x.log", "build/x", "src/build/y")
    touch(workspace, "src/only/here", "docs/a.tmp", "docs/b.md")
    (workspace / ".gitignore").write_text("# logs\n*.log\n!kept.log\n/build/\ndocs/**/*.tmp\n")
    (workspace / "src/.gitignore").write_text("/only\r\n")

    assert paths(tools.list(depth=2)) == [
        "docs",
        "kept.log",
        "src",
        "docs/b.md",
        "src/build",
    ]
    assert paths(tools.list(path="src", depth=2)) == ["src/build", "src/build/y"]
    shown = paths(tools.list(depth=2, include_hidden=True))
    assert ".env" in shown
    assert ".git" not in shown
    everything = paths(tools.list(depth=2, include_hidden=True, respect_gitignore=False))
    assert {".git/config", "x.log", "build/x", "src/only"} <= set(everything)


def test_names_that_are_not_text_are_shown(tools, workspace) -> None:
    (workspace / os.fsdecode(b"caf\xe9")).write_text("")

    assert paths(tools.list()) == ["caf\\xe9"]


def test_glob_finds_files_newest_first(tools, workspace) -> None:
    touch(workspace, "a.py", "src/b.py", "src/deep/c.py", "src/d.txt", ".hidden/e.py")
    for age, name in enumerate(("src/b.py", "a.py", "src/deep/c.py")):
        os.utime(workspace / name, (1000 - age, 1000 - age))

    result = tools.glob(pattern="**/*.py")

    assert result.paths == ["src/b.py", "a.py", "src/deep/c.py"]
    assert (result.total, result.truncated, result.complete) == (3, False, True)
    limited = tools.glob(pattern="**/*.py", limit=1)
    assert (limited.paths, limited.total, limited.truncated) == (["src/b.py"], 3, True)
    assert tools.glob(pattern="*.py", path="src").paths == ["src/b.py"]


MATCHES = [
    ("*.py", ["a.py"], ["d/a.py", ".a.py"]),
    ("**/*.py", ["a.py", "d/e/a.py"], [".d/a.py", "a.pyc"]),
    ("src/**", ["src/a", "src/b/c"], ["src", "lib/a"]),
    ("*.{ts,tsx}", ["a.ts", "a.tsx"], ["a.t", "a.{ts,tsx}"]),
    ("{a,b/{c,d}}/x", ["a/x", "b/c/x", "b/d/x"], ["b/x"]),
    ("[a-c]?.txt", ["b1.txt"], ["d1.txt", "b.txt"]),
    ("[!a].c", ["b.c"], ["a.c"]),
    (".env*", [".env", ".env.local"], ["env"]),
    ("a**b", ["ab", "axyb"], ["a/b"]),
    ("{x}", ["{x}"], ["x"]),
    ("\\*.c", ["*.c"], ["a.c"]),
]


@pytest.mark.parametrize(("pattern", "yes", "no"), MATCHES)
def test_patterns_match_name_by_name(pattern, yes, no) -> None:
    compiled = compile_glob(pattern)

    def matched(path: str) -> bool:
        return any(one.matches(path.split("/")) for one in compiled)

    assert [path for path in yes if not matched(path)] == []
    assert [path for path in no if matched(path)] == []


@pytest.mark.parametrize("pattern", ["../x", "a/../b", "/etc/*", "~/x", "a\0b", "{a,../b}", "/"])
def test_patterns_that_leave_the_folder_are_refused(tools, pattern) -> None:
    assert tools.code("glob", pattern=pattern) == ErrorCode.INVALID_ARGUMENT


def test_pattern_bombs_cost_little() -> None:
    stars = PathPattern.compile(["**", "*a*"] * 60)
    assert not stars.matches(["aaaa"] * 59)
    assert stars.matches(["aaaa"] * 60)
    letters = PathPattern.compile(["*a" * 100 + "b"])
    assert not letters.matches(["a" * 250])


def test_too_many_alternatives_are_refused(tools) -> None:
    assert tools.code("glob", pattern="{a,b}" * 20) == ErrorCode.INVALID_ARGUMENT


def test_very_deep_folders_are_searched_as_far_as_names_reach(tools, workspace) -> None:
    make_deep(workspace, 300)

    result = tools.glob(pattern="**/leaf")

    assert result.paths == ["d/" * 300 + "leaf"]
    assert tools.read(path=result.paths[0]).size == 0
    assert len(tools.list(depth=6).entries) == 6


def test_a_tree_that_is_too_large_is_not_walked_to_its_end(tools, workspace) -> None:
    for number in range(60):
        folder = workspace / f"{number:02}"
        folder.mkdir()
        os.close(os.open(folder / "f", os.O_CREAT))
        for link in range(900):
            os.link(folder / "f", folder / f"{link}")

    found = tools.glob(pattern="**/none")
    listed = tools.list(depth=2)

    assert (found.complete, found.truncated) == (False, True)
    assert (listed.complete, listed.truncated) == (False, True)
