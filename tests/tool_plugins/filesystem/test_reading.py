"""Reading: numbered windows, every encoding, and limits that say so."""

import base64
import hashlib

import pytest

from tool_plugins.errors import ErrorCode

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40


def numbered(*lines: str, first: int = 1) -> str:
    return "\n".join(f"{number}→{line}" for number, line in enumerate(lines, first))


def test_a_small_file_is_read_whole_and_described(tools, workspace) -> None:
    (workspace / "a.txt").write_bytes(b"one\ntwo\n")

    result = tools.read(path="a.txt")

    assert numbered("one", "two") == result.content
    assert (
        result.path,
        result.start_line,
        result.end_line,
        result.total_lines,
        result.size,
    ) == ("a.txt", 1, 2, 2, 8)
    assert (result.encoding, result.newline) == ("utf-8", "lf")
    assert hashlib.sha256(b"one\ntwo\n").hexdigest() == result.sha256
    assert not result.truncated
    assert result.next_line is None


@pytest.mark.parametrize(
    ("data", "lines", "encoding", "newline"),
    [
        (b"", [], "utf-8", "none"),
        (b"\n", [""], "utf-8", "lf"),
        (b"no end", ["no end"], "utf-8", "none"),
        (b"a\r\nb\r\n", ["a", "b"], "utf-8", "crlf"),
        (b"a\r\nb\nc", ["a", "b", "c"], "utf-8", "mixed"),
        (b"a\rb\n", ["a\rb"], "utf-8", "lf"),
        (b"a\x0bb\x0cc\x1cd\xe2\x80\xa8e\n", ["a\x0bb\x0cc\x1cd\u2028e"], "utf-8", "lf"),
        (b"\xef\xbb\xbfa\n", ["a"], "utf-8-sig", "lf"),
        ("\ufeffä\r\n€\n".encode("utf-16-le"), ["ä", "€"], "utf-16-le", "mixed"),
        ("\ufeffä\n".encode("utf-16-be"), ["ä"], "utf-16-be", "lf"),
        ("plain text\n".encode("utf-16-le"), ["plain text"], "utf-16-le", "lf"),
        ("Grüße\n".encode("latin-1"), ["Grüße"], "latin-1", "lf"),
        ("“quoted” €\n".encode("cp1252"), ["“quoted” €"], "cp1252", "lf"),
    ],
)
def test_encodings_and_line_ends_are_recognised(
    tools, workspace, data, lines, encoding, newline
) -> None:
    (workspace / "f").write_bytes(data)

    result = tools.read(path="f")

    assert numbered(*lines) == result.content
    assert (encoding, newline, len(lines)) == (
        result.encoding,
        result.newline,
        result.total_lines,
    )


@pytest.mark.parametrize("data", [b"a\0b", bytes(range(256)), b"\x7fELF\x02\x01\x01\0"])
def test_a_binary_file_is_refused_with_the_way_to_read_it(tools, workspace, data) -> None:
    (workspace / "f").write_bytes(data)

    error = tools.refused("read", path="f")

    assert ErrorCode.BINARY_FILE is error.code
    assert "base64" in error.hint
    result = tools.read(path="f", format="base64")
    assert data == base64.b64decode(result.content)
    assert result.encoding == "base64"


def test_a_window_says_how_to_go_on(tools, workspace) -> None:
    (workspace / "f").write_text("".join(f"line {n}\n" for n in range(1, 11)))

    result = tools.read(path="f", start_line=4, max_lines=3)

    assert numbered("line 4", "line 5", "line 6", first=4) == result.content
    assert (result.truncated, result.next_line, result.total_lines) == (True, 7, 10)
    last = tools.read(path="f", start_line=10)
    assert (last.content, last.next_line) == (numbered("line 10", first=10), None)


def test_the_tail_is_the_end(tools, workspace) -> None:
    (workspace / "f").write_text("".join(f"{n}\n" for n in range(1, 3001)))

    result = tools.read(path="f", tail=True, max_lines=2)

    assert numbered("2999", "3000", first=2999) == result.content
    assert (result.truncated, result.next_line) == (True, None)
    assert tools.code("read", path="f", tail=True, start_line=2) == ErrorCode.INVALID_ARGUMENT


def test_a_start_past_the_end_names_the_number_of_lines(tools, workspace) -> None:
    (workspace / "f").write_text("a\nb\n")

    error = tools.refused("read", path="f", start_line=3)

    assert ErrorCode.INVALID_ARGUMENT is error.code
    assert error.details == {"total_lines": 2}


def test_pages_of_a_large_answer_join_to_the_whole(tools, workspace) -> None:
    lines = [f"{n} " + "x" * 500 for n in range(1500)]
    (workspace / "f").write_text("\n".join(lines))
    shown: list[str] = []
    start: int | None = 1

    while start is not None:
        result = tools.read(path="f", start_line=start)
        assert len(result.content.encode()) <= 256 * 1024
        shown += [line.partition("→")[2] for line in result.content.split("\n")]
        start = result.next_line

    assert lines == shown


def test_a_long_line_is_cut_and_declared(tools, workspace) -> None:
    (workspace / "f").write_text("short\n" + "é" * 5000 + "\nend\n")

    result = tools.read(path="f")

    second = result.content.split("\n")[1]
    assert second.startswith("2→" + "é" * 2000 + "…")
    assert "10000 bytes" in second
    assert result.cut_lines == [2]
    assert result.truncated


@pytest.mark.parametrize("character", ["é", "€", "😀"])
def test_a_line_of_the_greatest_length_is_shown_whole(tools, workspace, character) -> None:
    (workspace / "f").write_text(character * 2000)

    assert numbered(character * 2000) == tools.read(path="f").content
    (workspace / "f").write_text(character * 2001)
    assert tools.read(path="f").cut_lines == [1]


def test_one_line_of_fifty_megabytes_is_read_within_limits(tools, workspace) -> None:
    with (workspace / "big").open("wb") as file:
        for _ in range(50):
            file.write(b"y" * 1024 * 1024)

    result = tools.read(path="big")

    assert (result.total_lines, result.size, result.cut_lines) == (1, 50 << 20, [1])
    assert len(result.content) < 3000
    assert tools.read(path="big", tail=True).content == result.content


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "latin-1"])
@pytest.mark.parametrize("tail", [False, True])
def test_a_large_file_is_read_like_a_small_one(tools, workspace, encoding, tail) -> None:
    mark = "\ufeff" if encoding == "utf-16-le" else ""
    lines = [f"{n} grüße\r" for n in range(300_000)]
    data = (mark + "\n".join(lines)).encode(encoding)
    (workspace / "f").write_bytes(data)

    if tail:
        result = tools.read(path="f", tail=True, max_lines=2)
        expected = numbered("299998 grüße", "299999 grüße\r".removesuffix("\r"), first=299_999)
    else:
        result = tools.read(path="f", start_line=200_000, max_lines=2)
        expected = numbered("199999 grüße", "200000 grüße", first=200_000)

    assert expected == result.content
    assert (encoding, 300_000) == (result.encoding, result.total_lines)
    assert hashlib.sha256(data).hexdigest() == result.sha256


def test_a_character_across_two_chunks_is_not_broken(tools, workspace) -> None:
    text = "x" * (256 * 1024 - 1) + "€\n" + "y" * 2_000_000 + "\n€\n"
    (workspace / "f").write_text(text)

    result = tools.read(path="f", start_line=3)

    assert (result.encoding, result.content) == ("utf-8", "3→€")


def test_a_nul_late_in_a_large_file_makes_it_binary(tools, workspace) -> None:
    (workspace / "f").write_bytes(b"text\n" * 500_000 + b"\0")

    assert tools.code("read", path="f") == ErrorCode.BINARY_FILE


@pytest.mark.parametrize(
    ("head", "mime_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a\1\0", "image/gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
        (b"%PDF-1.7\n", "application/pdf"),
    ],
)
def test_images_and_documents_are_attached(tools, workspace, head, mime_type) -> None:
    (workspace / "f").write_bytes(head)

    result = tools.read(path="f")

    assert mime_type == result.mime_type
    assert [{"mime_type": mime_type, "data": base64.b64encode(head).decode()}] == tools.attachments
    assert "attached" in result.content


@pytest.mark.parametrize(
    ("head", "size", "format"),
    [
        (PNG, 5 * 1024 * 1024 + 1, "text"),
        (b"%PDF-", 11 * 1024 * 1024 + 1, "text"),
        (b"x", 1024 * 1024 + 1, "base64"),
        (b"x", 256 * 1024 * 1024 + 1, "text"),
    ],
)
def test_what_is_too_large_is_refused_by_name(tools, workspace, head, size, format) -> None:
    with (workspace / "f").open("wb") as file:
        file.write(head)
        file.truncate(size)

    error = tools.refused("read", path="f", format=format)

    assert ErrorCode.TOO_LARGE is error.code
    assert error.details == {"size": size, "limit": size - 1}
    assert tools.attachments == []


def test_a_missing_file_and_a_folder_are_told_apart(tools, workspace) -> None:
    (workspace / "d").mkdir()

    assert tools.code("read", path="nothing") == ErrorCode.NOT_FOUND
    assert tools.code("read", path="d") == ErrorCode.IS_DIRECTORY
    assert tools.code("read", path=".") == ErrorCode.IS_DIRECTORY
