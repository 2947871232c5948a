"""Edits: exact, all or nothing, and never a byte more than was asked."""

import hashlib

import pytest

from tool_plugins.errors import ErrorCode
from tool_plugins.filesystem.diffs import unified_diff


def edits(*pairs: tuple[str, str], replace_all: bool = False) -> list[dict]:
    return [{"old": old, "new": new, "replace_all": replace_all} for old, new in pairs]


def test_an_edit_reports_what_it_did(tools, workspace) -> None:
    (workspace / "f.py").write_text("a = 1\nb = 2\nc = 3\n")

    result = tools.edit(path="f.py", edits=edits(("b = 2", "b = 20")))

    assert (workspace / "f.py").read_text() == "a = 1\nb = 20\nc = 3\n"
    assert result.diff == "--- f.py\n+++ f.py\n@@ -1,3 +1,3 @@\n a = 1\n-b = 2\n+b = 20\n c = 3\n"
    assert (result.replacements, result.first_changed_line, result.dry_run) == (1, 2, False)
    assert result.sha256 == hashlib.sha256((workspace / "f.py").read_bytes()).hexdigest()


BYTES = [
    # before, old, new, after
    (b"a\r\nb\r\nc\r\n", "a\nb", "x\ny", b"x\r\ny\r\nc\r\n"),
    (b"a\r\nb\r\n", "b", "b\nc", b"a\r\nb\r\nc\r\n"),
    (b"a\r\nb\nc\r\nd", "b\nc", "b\nX\nc", b"a\r\nb\nX\nc\r\nd"),
    (b"a\r\nb\nc", "a\nb\nc", "a\nB\nc", b"a\r\nB\nc"),
    (b"a\nb\r\nc\n", "a\nb\nc", "a\nb\nnew\nc", b"a\nb\r\nnew\r\nc\n"),
    (b"no end", "end", "end\nmore", b"no end\nmore"),
    (b"a\nb\n", "a\r\nb", "x\r\ny", b"x\ny\n"),
    (b"a\r\nb\r\n", "a\r\nb", "x\r\ny", b"x\r\ny\r\n"),
    (b"a\nb\n", "b", "b\r\nc", b"a\nb\r\nc\n"),
    (b"x\r\ny", "x\n", "", b"y"),
    (b"\xef\xbb\xbfa\r\n", "a", "b", b"\xef\xbb\xbfb\r\n"),
    ("\ufeffaĀb\r\n".encode("utf-16-le"), "b\n", "c\n", "\ufeffaĀc\r\n".encode("utf-16-le")),
    ("\ufeffab\n".encode("utf-16-be"), "b", "ü", "\ufeffaü\n".encode("utf-16-be")),
    ("Ā\u0001b".encode("utf-16-le") * 9, "Ā", "Ā", None),
    ("grün\n".encode("latin-1"), "grün", "blaß", "blaß\n".encode("latin-1")),
    ("“x” €".encode("cp1252"), "x", "ÿ", "“ÿ” €".encode("cp1252")),
    (b"tab\there  \n\x0c\nend", "here  ", "there  ", b"tab\tthere  \n\x0c\nend"),
    ("e\u0301 é".encode(), "é", "E", "e\u0301 E".encode()),
]


@pytest.mark.parametrize(("before", "old", "new", "after"), [row for row in BYTES if row[3]])
def test_only_the_bytes_of_the_match_change(tools, workspace, before, old, new, after) -> None:
    (workspace / "f").write_bytes(before)

    tools.edit(path="f", edits=edits((old, new)))

    assert (workspace / "f").read_bytes() == after
    if "\n" not in old and "\n" not in new:
        tools.edit(path="f", edits=edits((new, old)))
        assert (workspace / "f").read_bytes() == before


def test_a_wide_character_is_not_matched_across_two_others(tools, workspace) -> None:
    # The bytes of U+0141 stand between those of U+4100 and U+0001, one byte off.
    text = "\ufeffabc" + chr(0x4100) + chr(0x0101) + "abc"
    (workspace / "f").write_bytes(text.encode("utf-16-le"))

    assert tools.code("edit", path="f", edits=edits((chr(0x0141), "x"))) == ErrorCode.NO_MATCH


def test_later_edits_work_on_what_earlier_ones_left(tools, workspace) -> None:
    (workspace / "f").write_text("one\n")

    result = tools.edit(path="f", edits=edits(("one", "two"), ("two", "three")))

    assert (workspace / "f").read_text() == "three\n"
    assert result.replacements == 2


def test_if_one_edit_fails_none_is_applied(tools, workspace) -> None:
    (workspace / "f").write_text("one\ntwo\n")

    error = tools.refused("edit", path="f", edits=edits(("one", "1"), ("three", "3")))

    assert (error.code, error.details["edit"]) == (ErrorCode.NO_MATCH, 1)
    assert (workspace / "f").read_text() == "one\ntwo\n"


def test_a_dry_run_shows_the_diff_and_writes_nothing(tools, workspace) -> None:
    (workspace / "f").write_text("one\n")
    before = (workspace / "f").stat()

    result = tools.edit(path="f", edits=edits(("one", "two")), dry_run=True)

    assert "+two" in result.diff
    assert result.dry_run
    assert result.sha256 == hashlib.sha256(b"two\n").hexdigest()
    assert (workspace / "f").stat().st_mtime_ns == before.st_mtime_ns
    assert (workspace / "f").read_text() == "one\n"


@pytest.mark.parametrize(
    ("text", "old", "count", "lines"),
    [
        ("x\ny\nx\n", "x", 2, [1, 3]),
        ("aaaa", "aa", 3, [1, 1, 1]),
        ("aaa", "aa", 2, [1, 1]),
        ("\r\n\r\nx", "\n", 2, [1, 2]),
    ],
)
def test_an_ambiguous_edit_names_the_places(tools, workspace, text, old, count, lines) -> None:
    (workspace / "f").write_bytes(text.encode())

    error = tools.refused("edit", path="f", edits=edits((old, "z")))

    assert error.code is ErrorCode.MULTIPLE_MATCHES
    assert error.details == {"edit": 0, "count": count, "lines": lines}
    assert (workspace / "f").read_bytes() == text.encode()


@pytest.mark.parametrize(
    ("text", "old", "new", "after", "count"),
    [
        ("aaaa", "aa", "b", "bb", 2),
        ("aaa", "aa", "aaa", "aaaa", 1),
        ("x\r\ny\nx\r\n", "x\n", "z\n", "z\r\ny\nz\r\n", 2),
        ("\r\n\r\n", "\n", "", "", 2),
    ],
)
def test_replace_all_goes_from_the_left(tools, workspace, text, old, new, after, count) -> None:
    (workspace / "f").write_bytes(text.encode())

    result = tools.edit(path="f", edits=edits((old, new), replace_all=True))

    assert (workspace / "f").read_bytes() == after.encode()
    assert result.replacements == count


def test_a_miss_shows_the_closest_text(tools, workspace) -> None:
    lines = [f"def unrelated_{n}(): pass" for n in range(200)]
    lines[120:122] = ["    def total(self, items):", "        return sum(items)"]
    (workspace / "f").write_text("\n".join(lines))

    error = tools.refused(
        "edit", path="f", edits=edits(("  def total(self, items):\n      return sum(item)", "x"))
    )

    assert error.code is ErrorCode.NO_MATCH
    assert error.details["line"] == 121
    assert error.details["closest"] == "\n".join(lines[120:122])
    assert 0.8 < error.details["similarity"] < 1
    assert "121" in error.hint


def test_a_miss_by_white_space_says_so(tools, workspace) -> None:
    (workspace / "f").write_text("if x:\n\treturn 1\n")

    error = tools.refused("edit", path="f", edits=edits(("if x:\n    return 1", "x")))

    assert "white space" in error.hint
    assert (workspace / "f").read_text() == "if x:\n\treturn 1\n"


def test_line_numbers_that_were_copied_too_are_noticed(tools, workspace) -> None:
    (workspace / "f").write_text("hello\n")

    error = tools.refused("edit", path="f", edits=edits(("1→hello", "x")))

    assert "line numbers" in error.hint


def test_a_miss_in_a_huge_file_is_explained_too(tools, workspace) -> None:
    (workspace / "f").write_text("some ordinary line of text\n" * 200_000)

    error = tools.refused("edit", path="f", edits=edits(("nothing like it 12345", "x")))

    assert error.code is ErrorCode.NO_MATCH


def test_the_same_text_twice_is_refused(tools, workspace) -> None:
    (workspace / "f").write_text("a")

    refused = tools.code("edit", path="f", edits=edits(("a", "a")))
    assert refused == ErrorCode.INVALID_ARGUMENT


def test_a_character_the_encoding_lacks_is_refused(tools, workspace) -> None:
    (workspace / "f").write_bytes("grün".encode("latin-1"))

    error = tools.refused("edit", path="f", edits=edits(("r", "→")))

    assert error.code is ErrorCode.ENCODING_ERROR
    assert tools.code("edit", path="f", edits=edits(("→", "r"))) == ErrorCode.NO_MATCH
    assert (workspace / "f").read_bytes() == "grün".encode("latin-1")


def test_binary_missing_and_huge_files_are_refused(tools, workspace) -> None:
    (workspace / "bin").write_bytes(b"a\0b")
    with (workspace / "huge").open("wb") as file:
        file.truncate((10 << 20) + 1)

    assert tools.code("edit", path="bin", edits=edits(("a", "b"))) == ErrorCode.BINARY_FILE
    assert tools.code("edit", path="huge", edits=edits(("a", "b"))) == ErrorCode.TOO_LARGE
    assert tools.code("edit", path="none", edits=edits(("a", "b"))) == ErrorCode.NOT_FOUND


def test_a_stale_file_is_not_edited(tools, workspace) -> None:
    (workspace / "f").write_text("a")

    refused = tools.code("edit", path="f", edits=edits(("a", "b")), expected_sha256="0" * 64)
    assert refused == ErrorCode.STALE_FILE
    assert (workspace / "f").read_text() == "a"


def test_the_diff_of_a_small_change_in_a_large_file_has_its_line_numbers() -> None:
    old = [f"line {n}" for n in range(1, 20_001)]
    new = old.copy()
    new[9_999] = "changed"

    diff, cut = unified_diff("f", "\n".join(old) + "\n", "\n".join(new) + "\n")

    assert "@@ -9997,7 +9997,7 @@\n line 9997\n" in diff
    assert "-line 10000\n+changed\n" in diff
    assert not cut


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("a\n", "a", "-a\n+a\n\\ No newline at end of file\n"),
        ("", "a\n", "@@ -0,0 +1 @@\n+a\n"),
        ("a\n", "", "@@ -1 +0,0 @@\n-a\n"),
    ],
)
def test_the_diff_tells_the_last_line_end(old, new, expected) -> None:
    assert unified_diff("f", old, new)[0].endswith(expected)


def test_a_diff_that_is_too_large_is_cut_and_says_so() -> None:
    many = unified_diff("f", "a\n" * 50_000, "b\n" * 50_000)
    wide = unified_diff("f", ("a" * 1000 + "\n") * 100, ("b" * 1000 + "\n") * 100)

    assert many[1]
    assert "left out" in many[0]
    assert wide[1]
    assert len(wide[0]) < 66_000
