"""Searching content: ripgrep without its traps."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tool_plugins.context import Host, Identity, ToolContext
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.filesystem import searching
from tool_plugins.filesystem.executor import EXECUTORS
from tool_plugins.filesystem.records import LineRecords, Page
from tool_plugins.filesystem.ripgrep import Ripgrep


@pytest.fixture
def project(workspace: Path) -> Path:
    """A small project."""
    (workspace / "src").mkdir()
    (workspace / "src/a.py").write_text("import os\n\ndef total(x):\n    return x\n\ntotal(1)\n")
    (workspace / "src/b.txt").write_text("nothing\nTOTAL\n")
    (workspace / ".env").write_text("total=1\n")
    (workspace / ".git").mkdir()
    (workspace / ".git/config").write_text("total\n")
    (workspace / "ignored.log").write_text("total\n")
    (workspace / ".gitignore").write_text("*.log\n")
    (workspace / "image").write_bytes(b"\0\0total\0")
    return workspace


@contextmanager
def search_for(host: Host, folder: Path, arguments: list[str]) -> Iterator[Ripgrep]:
    """A run of ripgrep in a folder, with a time limit of the test's own."""
    place = os.open(folder, os.O_RDONLY)
    search = Ripgrep(host, arguments, place, is_folder=True)
    try:
        yield search
    finally:
        search.close()
        os.close(place)


def found(result) -> list:
    return [(match.path, match.line, match.text) for match in result.matches]


def test_files_are_named_by_default(tools, project) -> None:
    result = tools.grep(pattern="total")

    assert [match.path for match in result.matches] == [".env", "src/a.py"]
    assert result.matches[0].line is None
    assert (result.total, result.truncated, result.next_offset, result.complete) == (
        2,
        False,
        None,
        True,
    )


def test_lines_come_with_their_number_and_surroundings(tools, project) -> None:
    result = tools.grep(pattern=r"total\(", mode="lines", context=2)

    assert found(result) == [("src/a.py", 3, "def total(x):"), ("src/a.py", 6, "total(1)")]
    assert result.matches[0].before == ["import os", ""]
    assert result.matches[0].after == ["    return x", ""]
    assert result.matches[1].before == ["    return x", ""]
    assert result.matches[1].after == []


def test_neighbouring_matches_are_each_others_surroundings(tools, workspace) -> None:
    (workspace / "f").write_text("a1\na2\nb\na3\n")

    result = tools.grep(pattern="a", mode="lines", context=1)

    assert [(m.before, m.after) for m in result.matches] == [
        ([], ["a2"]),
        (["a1"], ["b"]),
        (["b"], []),
    ]


def test_counts_are_per_file(tools, project) -> None:
    result = tools.grep(pattern="total", mode="count", ignore_case=True)

    assert {match.path: match.count for match in result.matches} == {
        ".env": 1,
        "src/a.py": 2,
        "src/b.txt": 1,
    }


def test_a_file_is_searched_by_itself(tools, project) -> None:
    for mode, expected in (
        ("files", (None, None)),
        ("lines", (1, "total")),
        ("count", (None, None)),
    ):
        result = tools.grep(pattern="total", path="ignored.log", mode=mode)
        assert found(result) == [("ignored.log", *expected)]


def test_a_folder_is_named_in_the_paths(tools, project) -> None:
    (project / "way").symlink_to("src")

    assert found(tools.grep(pattern="import", path="src")) == [("src/a.py", None, None)]
    assert found(tools.grep(pattern="import", path="way")) == [("way/a.py", None, None)]


def test_a_glob_narrows_the_files(tools, project) -> None:
    assert found(tools.grep(pattern="total", glob="*.py")) == [("src/a.py", None, None)]
    assert found(tools.grep(pattern="total", glob="!*.py")) == [(".env", None, None)]
    assert found(tools.grep(pattern="total", glob="**/*")) != []
    assert ".git/config" not in [m.path for m in tools.grep(pattern="total", glob="**").matches]


def test_literal_case_and_multiline_are_understood(tools, project) -> None:
    assert found(tools.grep(pattern="total(", literal=True, mode="lines"))[0][1] == 3
    assert tools.grep(pattern="TOTAL(x)", literal=True, ignore_case=True).total == 1
    spanning = tools.grep(pattern=r"def.*return", multiline=True, mode="lines")
    assert found(spanning) == [("src/a.py", 3, "def total(x):\n    return x")]


def test_pages_join_to_the_whole(tools, workspace) -> None:
    for number in range(30):
        (workspace / f"{number:02}").write_text("hit\n" * 3)
    seen, offset = [], 0

    while offset is not None:
        result = tools.grep(pattern="hit", mode="lines", limit=7, offset=offset)
        assert result.total == 90
        seen += found(result)
        offset = result.next_offset

    assert seen == [(f"{n:02}", line, "hit") for n in range(30) for line in (1, 2, 3)]


def test_the_answer_stays_small_whatever_matches(tools, workspace) -> None:
    (workspace / "f").write_text(("x" * 3000 + "\n") * 2000)

    result = tools.grep(pattern="x+", mode="lines", limit=2000, context=20)

    assert result.total == 2000
    assert result.truncated
    assert result.next_offset == len(result.matches)
    assert len(result.model_dump_json()) < 600_000
    assert result.matches[0].text.endswith("… [cut]")


def test_a_huge_line_is_shown_by_its_beginning(tools, workspace) -> None:
    with (workspace / "big").open("wb") as file:
        file.write(b'first\n"quo\\ted" \xc3\xa9')
        for _ in range(50):
            file.write(b"y" * 1024 * 1024)
        file.write(b"needle\nneedle")

    result = tools.grep(pattern="needle", mode="lines")

    (path, line, text), last = found(result)
    assert (path, line) == ("big", 2)
    assert text.startswith('"quo\\ted" éyyy')
    assert len(text) < 1100
    assert last == ("big", 3, "needle")


def test_a_huge_line_that_is_not_utf8_is_shown_too(tools, workspace) -> None:
    (workspace / "big").write_bytes(b"\xff" + b"y" * 3_000_000)

    ((_, line, text),) = found(tools.grep(pattern="y{9}", mode="lines"))

    assert line == 1
    assert text.startswith("\ufffdyyy")


@pytest.mark.parametrize("size", [7, 13, 64, 1000, 300_000])
def test_a_huge_record_is_understood_however_it_is_cut(size) -> None:
    record = {
        "type": "match",
        "data": {
            "path": {"text": "f"},
            "lines": {"text": 'é"\\,"line_number":7' + "x" * 400_000 + "\n"},
            "line_number": 123456,
            "absolute_offset": 0,
            "submatches": [{"start": 1, "end": 2}] * 1000,
        },
    }
    output = json.dumps(record, separators=(",", ":")).encode() + b"\n"
    page = Page(0, 10)
    records = LineRecords(page, 0)

    for start in range(0, len(output), size):
        records.feed(output[start : start + size])

    ((path, line, text),) = [(m.path, m.line, m.text) for m in page.matches]
    assert (path, line) == ("f", 123456)
    assert text.startswith('é"\\,"line_number":7xxx')


def test_bytes_that_are_not_text_are_shown(tools, workspace) -> None:
    (workspace / os.fsdecode(b"caf\xe9")).write_bytes(b"na\xefve\n")

    for mode, expected in (("files", None), ("count", None), ("lines", "na\\xefve")):
        assert tools.grep(pattern="na", mode=mode).matches[0].path == "caf\\xe9"
        assert tools.grep(pattern="na", mode=mode).matches[0].text == expected


def test_names_with_line_ends_are_kept(tools, workspace) -> None:
    (workspace / "a\nb").write_text("hit\n")

    for mode in ("files", "count", "lines"):
        assert [m.path for m in tools.grep(pattern="hit", mode=mode).matches] == ["a\nb"]


@pytest.mark.parametrize(
    "pattern", ["--pre=sh", "--files", "-e", "-", "--", "--pre-glob=*", "--help"]
)
def test_a_pattern_is_never_an_option(tools, project, pattern) -> None:
    (project / "evil").write_text(f"touch {project}/pwned # {pattern}\n")

    result = tools.grep(pattern=pattern, literal=True)

    assert [match.path for match in result.matches if match.path == "evil"] == ["evil"]
    assert not (project / "pwned").exists()
    assert tools.grep(pattern="total", glob="--pre=sh").total == 0
    assert not (project / "pwned").exists()


def test_settings_of_the_machine_do_not_matter(tools, project, monkeypatch) -> None:
    (project / "rc").write_text("--invert-match\n")
    monkeypatch.setenv("RIPGREP_CONFIG_PATH", str(project / "rc"))

    assert [m.path for m in tools.grep(pattern="import os").matches] == ["src/a.py"]


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", r"(?=look)", r"\1"])
def test_a_faulty_expression_is_explained(tools, project, pattern) -> None:
    error = tools.refused("grep", pattern=pattern)

    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert "regex" in error.message
    assert tools.code("grep", pattern="a\0b") == ErrorCode.INVALID_ARGUMENT
    assert tools.code("grep", pattern="x", glob="[") == ErrorCode.INVALID_ARGUMENT


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+b", "(.*)*x"])
def test_a_catastrophic_expression_is_harmless(tools, workspace, pattern) -> None:
    (workspace / "f").write_text("a" * 100_000 + "!\n")

    assert tools.grep(pattern=pattern).total == 0


def test_an_expression_that_is_slow_all_the_same_is_ended(host, workspace) -> None:
    (workspace / "f").write_text("a" * 1_000_000 + "!\n")
    pattern = "a{1,50}{1,50}{1,9}[b-z]"

    arguments = ["-e", pattern, "--", "./"]
    with search_for(host, workspace, arguments) as search, pytest.raises(ToolError) as caught:
        search.run(lambda chunk: True, 0.5)

    assert caught.value.code is ErrorCode.TIMEOUT


def test_fifos_and_missing_paths_do_not_hang(tools, workspace) -> None:
    os.mkfifo(workspace / "pipe")
    (workspace / "f").write_text("hit")

    assert [m.path for m in tools.grep(pattern="hit").matches] == ["f"]
    assert tools.code("grep", pattern="hit", path="pipe") == ErrorCode.NOT_REGULAR_FILE
    assert tools.code("grep", pattern="hit", path="none") == ErrorCode.NOT_FOUND


def test_no_match_is_an_answer(tools, project) -> None:
    result = tools.grep(pattern="nowhere to be found", mode="lines")

    assert (result.matches, result.total, result.truncated) == ([], 0, False)


def test_counting_stops_somewhere_and_says_so(tools, workspace) -> None:
    (workspace / "f").write_text("x\n" * 150_000)

    result = tools.grep(pattern="x", mode="lines", limit=1)

    assert (result.total, result.complete, result.truncated) == (100_000, False, True)


@pytest.fixture
def endless(host: Host, tmp_path: Path) -> Path:
    """A program named rg that writes down its process id and never ends."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "rg"
    program.write_text(
        f"#!{sys.executable} -I\n"
        "import os, pathlib, signal\n"
        f"pathlib.Path({str(tmp_path / 'pid.new')!r}).write_text(str(os.getpid()))\n"
        f"os.rename({str(tmp_path / 'pid.new')!r}, {str(tmp_path / 'pid')!r})\n"
        "signal.pause()\n"
    )
    program.chmod(0o755)
    host.environment["PATH"] = str(folder)
    return tmp_path / "pid"


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_a_search_that_takes_too_long_is_ended(host, workspace, endless) -> None:
    with search_for(host, workspace, []) as search, pytest.raises(ToolError) as caught:
        search.run(lambda chunk: True, 1.0)

    assert caught.value.code is ErrorCode.TIMEOUT
    assert gone(int(endless.read_text()))
    assert 5 <= searching.TIMEOUT_S <= 30


async def test_a_cancelled_search_ends_its_process(host, workspace, endless) -> None:
    before = len(os.listdir("/proc/self/fd"))
    search = asyncio.ensure_future(EXECUTORS["grep"](ToolContext(host), pattern="x"))
    async with asyncio.timeout(5):
        while not endless.exists():  # noqa: ASYNC110  (another process makes the file)
            await asyncio.sleep(0.01)

    search.cancel()
    with pytest.raises(asyncio.CancelledError):
        await search

    assert gone(int(endless.read_text()))
    # The workspace's own descriptor is the one that stays open.
    assert len(os.listdir("/proc/self/fd")) <= before + 5


def test_without_ripgrep_the_error_says_what_to_install(host, tools, monkeypatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    host.environment["PATH"] = "/nowhere"

    error = tools.refused("grep", pattern="x")

    assert error.code is ErrorCode.UNSUPPORTED
    assert "install ripgrep" in error.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change its user")
def test_ripgrep_runs_as_the_agents_user(tmp_path, workspace) -> None:
    program = tmp_path / "rg"
    program.write_text("#!/bin/sh\nprintf '%s\\0' \"$(id -u) $(id -g) $(id -G) $(pwd)\"\n")
    for path in (tmp_path, *list(tmp_path.parents)[:3]):
        path.chmod(0o755)
    program.chmod(0o755)
    host = Host(
        workspace=workspace,
        tmp=tmp_path,
        spool=tmp_path,
        identity=Identity(uid=54321, gid=54322, tag_base=60000),
        environment={"PATH": str(tmp_path)},
    )

    data = asyncio.run(EXECUTORS["grep"](ToolContext(host), pattern="x"))

    assert data["matches"][0]["path"] == f"54321 54322 54322 {workspace}"
    assert subprocess.run(["id", "-u"], capture_output=True, check=True).stdout == b"0\n"
