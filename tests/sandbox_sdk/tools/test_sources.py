"""Files of tools are found, read strictly, and never run."""

import os
from pathlib import Path
from typing import Any

import pytest

from sandbox_sdk.tools.sources import (
    MAX_SOURCE_BYTES,
    files_in,
    parse_tools,
    read_source,
    source_of,
)
from tool_plugins.errors import ConfigurationError, ToolError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.py", "a.py", "_own.py", ".hidden.py", "notes.txt"):
        (tmp_path / name).write_text("x = 1\n")
    (tmp_path / "package.py").mkdir()
    os.mkfifo(tmp_path / "pipe.py")
    return tmp_path


def test_files_and_folders_are_taken_in_their_order(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)

    assert parse_tools(None) == ()
    assert parse_tools([]) == ()
    assert parse_tools("b.py") == (folder / "b.py",)
    assert parse_tools([folder, "a.py"]) == (folder, folder / "a.py")


def test_a_link_stays_one(folder: Path) -> None:
    (folder / "link.py").symlink_to("a.py")

    assert parse_tools([folder / "link.py"]) == (folder / "link.py",)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (7, "'7', a int"),
        ([b"a.py"], "a bytes"),
        (["a\0.py"], "a str"),
        (["gone.py"], "does not exist"),
        (["pipe.py"], "not a regular file"),
        (["notes.txt"], "no file of tools"),
        (["my-tools.py"], "bad namespace 'my-tools'"),
        (["a.py", "./a.py"], "twice"),
        (["a.py", "other/a.py"], r"'a' of .*other/a\.py is taken by .*/a\.py"),
    ],
    ids=["number", "bytes", "NUL", "gone", "pipe", "text", "name", "twice", "same name"],
)
def test_what_is_no_file_of_tools_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, given: Any, words: str
) -> None:
    monkeypatch.chdir(folder)
    (folder / "other").mkdir()
    for name in ("my-tools.py", "other/a.py"):
        (folder / name).touch()

    with pytest.raises(ConfigurationError, match=words):
        parse_tools(given)


def test_a_folder_gives_its_public_files(folder: Path) -> None:
    assert files_in(folder) == (folder / "a.py", folder / "b.py")
    assert files_in(folder / "gone") == ()


def test_a_source_is_read_as_python_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "my_tools.py"
    path.write_bytes(b"\xef\xbb\xbf# -*- coding: UTF_8 -*-\r\nx = '\xc3\xa4'\ry = 2\n")

    source = read_source(path)

    assert source.namespace == "my_tools"
    assert source.text == "# -*- coding: UTF_8 -*-\nx = 'ä'\ny = 2\n"
    assert source.origin == str(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a = 1\nb = '\xe4'\n", r"^a\.py:2: is not UTF-8"),
        (b"a = 1\nb = '\x00'\n", r"^a\.py:2: .*U\+0000"),
        (b"#!/bin/python\n# coding: latin-1\n", r"^a\.py:2: .*'latin-1'"),
        (b" \n\t\n", r"^a\.py: .*empty"),
        (b"#" * (MAX_SOURCE_BYTES + 1), r"^a\.py is larger"),
    ],
    ids=["bytes", "NUL", "encoding", "empty", "large"],
)
def test_what_is_no_python_is_refused_with_its_line(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(content)

    with pytest.raises(ToolError, match=words):
        read_source(path)


def test_an_encoding_that_is_only_talked_about_is_no_matter() -> None:
    text = "x = 1\n# coding: latin-1\n"

    assert source_of("a", text, "here").text == text


def test_what_cannot_be_read_says_why(folder: Path) -> None:
    for name, code in (("gone", "NOT_FOUND"), ("pipe", "NOT_REGULAR_FILE")):
        with pytest.raises(ToolError, match=name) as error:
            read_source(folder / f"{name}.py")
        assert error.value.code == code


def test_given_text_is_held_to_the_same_rules() -> None:
    assert source_of("a", "x" * MAX_SOURCE_BYTES, "here\u202e\n").origin == "here"
    with pytest.raises(ToolError, match="larger"):
        source_of("a", "ä" * (MAX_SOURCE_BYTES // 2 + 1), "here")
    with pytest.raises(ToolError, match=r"^a\.py:2: .*U\+D800"):
        source_of("a", "x\r'\ud800'", "here")
