"""Folders as tar streams: what travels, and what is refused at either end."""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from container_runtime import archive
from container_runtime.archive import Summary, Unpacker, pack, stays_inside
from tool_plugins.errors import ErrorCode, ToolError

FOLDER = os.O_RDONLY | os.O_DIRECTORY


def unpack(target: Path, data: bytes, *, piece: int = 65_536, **limits: int) -> Summary:
    """Extracts an archive that arrives in pieces."""
    target.mkdir(exist_ok=True)
    folder = os.open(target, FOLDER)
    unpacker = Unpacker(folder, **limits)
    try:
        for start in range(0, len(data), piece):
            unpacker.feed(data[start : start + piece])
        return unpacker.finish()
    finally:
        unpacker.close()
        os.close(folder)


def packed(source: Path) -> bytes:
    """The archive of a folder."""
    folder = os.open(source, FOLDER)
    try:
        return b"".join(pack(folder))
    finally:
        os.close(folder)


def made(*members: tarfile.TarInfo | tuple[str, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    """An archive as the standard library writes it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=kind) as tar:
        for member in members:
            if isinstance(member, tuple):
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
            else:
                tar.addfile(member)
    return stream.getvalue()


def special(name: str, kind: bytes, link: str = "", size: int = 0) -> tarfile.TarInfo:
    """A member that is no plain file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, link, size, 0o755
    return info


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with something of everything that travels."""
    root = tmp_path / "tree"
    (root / "a" / "empty").mkdir(parents=True)
    (root / "a" / "text").write_text("hello")
    (root / "a" / "nothing").touch()
    (root / "a" / "block").write_bytes(bytes(512))
    (root / "a" / "large").write_bytes(os.urandom(700_001))
    (root / "run").write_text("#!/bin/sh\n")
    (root / "run").chmod(0o755)
    (root / "né\n").write_text("odd")
    (root / os.fsdecode(b"\xff\xfe")).write_text("no text at all")
    (root / ("n" * 200)).mkdir()
    (root / ("n" * 200) / ("m" * 200)).write_text("long")
    (root / "a" / "up").symlink_to("../run")
    (root / "link").symlink_to("a/text")
    return root


def contents(root: Path) -> dict[str, bytes | str | None]:
    """What is below a folder."""
    found: dict[str, bytes | str | None] = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = None if path.is_dir() else path.read_bytes()
    return found


@pytest.mark.parametrize("piece", [1, 511, 512, 513, 262_144])
def test_a_folder_survives_the_way_in_pieces_of_any_size(
    tree: Path, tmp_path: Path, piece: int
) -> None:
    if piece == 1:
        (tree / "a" / "large").unlink()

    unpack(tmp_path / "copy", packed(tree), piece=piece)

    assert contents(tree) == contents(tmp_path / "copy")
    assert (tmp_path / "copy" / "run").stat().st_mode & 0o111 == 0o111


def test_the_standard_library_reads_what_is_written(tree: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed(tree))) as tar:
        file = tar.extractfile("a/text")
        assert file is not None
        assert file.read() == b"hello"
        assert ("n" * 200 + "/" + "m" * 200) in tar.getnames()


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_what_the_standard_library_writes_is_read(tmp_path: Path, kind: int) -> None:
    summary = unpack(tmp_path / "x", made(("./a/b", b"1234"), kind=kind))

    assert summary == Summary(files=1, bytes=4)
    assert (tmp_path / "x" / "a" / "b").read_bytes() == b"1234"


def test_pieces_are_small_and_special_files_stay_behind(tree: Path, tmp_path: Path) -> None:
    os.mkfifo(tree / "pipe")
    folder = os.open(tree, FOLDER)
    try:
        assert max(len(piece) for piece in pack(folder)) <= archive.CHUNK_BYTES
    finally:
        os.close(folder)

    unpack(tmp_path / "copy", packed(tree))

    assert not (tmp_path / "copy" / "pipe").exists()


def test_what_is_there_is_replaced_and_never_written_through(tree: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("precious")
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "run").symlink_to(outside)
    (copy / "link").write_text("old")
    (copy / "other").write_text("kept")

    unpack(copy, packed(tree))

    assert outside.read_text() == "precious"
    assert not (copy / "run").is_symlink()
    assert os.readlink(copy / "link") == "a/text"
    assert (copy / "other").read_text() == "kept"


REFUSED = {
    "an absolute path": made(("/evil", b"x")),
    "a path upwards": made(("../evil", b"x")),
    "a path upwards later": made(("a/../../evil", b"x")),
    "a hard link": made(("a", b"x"), special("b", tarfile.LNKTYPE, "a")),
    "a hard link out": made(special("b", tarfile.LNKTYPE, "/etc/passwd")),
    "a device": made(special("dev", tarfile.CHRTYPE)),
    "a block device": made(special("dev", tarfile.BLKTYPE)),
    "a pipe": made(special("pipe", tarfile.FIFOTYPE)),
    "an unknown kind": made(special("odd", b"Z")),
    "a sparse file": made(special("odd", tarfile.GNUTYPE_SPARSE)),
    "a file below a link": made(special("a", tarfile.SYMTYPE, "b"), ("a/evil", b"x")),
    "a file below a file": made(("a", b"x"), ("a/b", b"y")),
    "a folder over a file": made(("a", b"x"), special("a", tarfile.DIRTYPE)),
    "a file over a folder": made(special("a", tarfile.DIRTYPE), ("a", b"x")),
    "a name too long": made(("n" * 300, b"x")),
    "a path too long": made(("/".join(["nnnn"] * 1000), b"x")),
    "nothing": b"",
    "no end": made(("a", b"x"))[:1024],
    "half a file": made(("a", b"x" * 5000))[:2048],
    "garbage": b"garbage" * 1000,
    "a wrong checksum": b"b" + made(("a", b"x"))[1:],
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_unsafe_or_broken_archive_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ToolError):
        unpack(tmp_path / "x", REFUSED[name])

    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert not (tmp_path / "evil").exists()


def _extended(*records: bytes) -> bytes:
    body = b"".join(records)
    header = special("x", tarfile.XHDTYPE, size=len(body)).tobuf(tarfile.USTAR_FORMAT)
    return header + body + bytes(-len(body) % 512) + made(("a", b"x"))


@pytest.mark.parametrize(
    "records",
    [
        (b"19 path=../evil.txt\n",),
        (b"99999 path=x\n",),
        (b"0 path=x\n",),
        (b"-5 path=x\n",),
        (b"11 path=xy", b"z"),
        (b"path=x\n",),
        (b"20 size=-99999999999\n",),
        (b"x" * 100_000,),
    ],
)
def test_a_malformed_extended_header_is_refused(tmp_path: Path, records: tuple[bytes, ...]) -> None:
    with pytest.raises(ToolError):
        unpack(tmp_path / "x", _extended(*records))

    assert not (tmp_path / "evil.txt").exists()


def test_a_well_formed_extended_header_is_the_accepted_twin(tmp_path: Path) -> None:
    unpack(tmp_path / "x", _extended(b"13 path=good\n"))

    assert (tmp_path / "x" / "good").read_bytes() == b"x"


def _links() -> Iterator[tuple[str, str, bool]]:
    yield "link", "file", True
    yield "link", "./a/b", True
    yield "a/link", "../file", True
    yield "a/b/link", "../../file", True
    yield "link", "..", False
    yield "link", "../file", False
    yield "a/link", "../../file", False
    yield "link", "/etc/passwd", False
    yield "link", "a/../..", False
    # "a" may be a link into the depth or to the top, so ".." after it may be anywhere.
    yield "link", "a/../file", False
    yield "a/link", "b/../../..", False
    yield "link", "", False


@pytest.mark.parametrize(("path", "target", "inside"), list(_links()))
def test_links_that_lead_out_are_skipped_and_counted(
    tmp_path: Path, path: str, target: str, inside: bool
) -> None:
    data = made(special(path, tarfile.SYMTYPE, target))

    summary = unpack(tmp_path / "x", data)

    assert stays_inside(path, target) is inside
    assert summary.skipped == (0 if inside else 1)
    assert (tmp_path / "x" / path).is_symlink() is inside


def test_set_user_id_does_not_travel(tmp_path: Path) -> None:
    member = special("tool", tarfile.REGTYPE)
    member.mode = 0o6777

    unpack(tmp_path / "x", made(member))

    assert (tmp_path / "x" / "tool").stat().st_mode & 0o7022 == 0


def test_more_bytes_than_allowed_are_refused_before_they_are_written(tmp_path: Path) -> None:
    data = made(("a", b"x" * 1000), ("b", b"x" * 1001))

    with pytest.raises(ToolError) as caught:
        unpack(tmp_path / "x", data, max_bytes=2000)

    assert caught.value.code is ErrorCode.TOO_LARGE
    assert not (tmp_path / "x" / "b").exists()
    assert unpack(tmp_path / "y", data, max_bytes=2001).bytes == 2001


def test_more_members_than_allowed_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBERS", 3)
    assert unpack(tmp_path / "x", made(*((str(n), b"") for n in range(3)))).files == 3

    with pytest.raises(ToolError):
        unpack(tmp_path / "y", made(*((str(n), b"") for n in range(4))))


def test_nothing_after_the_end_is_read(tmp_path: Path) -> None:
    unpack(tmp_path / "x", made(("a", b"x")) + made(("b", b"x")))

    assert not (tmp_path / "x" / "b").exists()
