"""What functions return, as their callers get it."""

import base64
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.tool.answering import FOLDER, MAX_ATTACHMENT_BYTES, MAX_JSON_BYTES, answer
from tool_plugins.tool.building import build

PNG = b"\x89PNG\r\n\x1a\n..."


class Book(BaseModel):
    title: str
    pages: int = Field(default=1, gt=0)
    parts: list["Book"] = []


class Named(BaseModel):
    value: int = Field(alias="theValue")


class Packed(BaseModel):
    data: bytes


class Genre(Enum):
    FICTION = "fiction"


@dataclass
class Point:
    x: float


class Lazy:
    """Fails when it is looked at."""

    def __getattribute__(self, name: str) -> Any:
        raise ZeroDivisionError(name)


class LazyDict(dict[str, int]):
    def items(self) -> Any:
        raise ZeroDivisionError

    def __iter__(self) -> Any:
        raise ZeroDivisionError


def answered(kind: Any, value: Any, workspace: Path = Path("/none")) -> dict[str, Any]:
    def function() -> Any:
        """Gives it."""

    function.__annotations__["return"] = kind
    return answer(build("function", function), value, "my_tools.function", workspace)


def misfit(kind: Any, value: Any) -> dict[str, str]:
    """The first place where the value is not what its type says."""
    with pytest.raises(ToolError) as caught:
        answered(kind, value)
    assert caught.value.code is ErrorCode.INVALID_RESULT
    place = caught.value.details["fields"][0]
    assert caught.value.message.endswith(": ".join(filter(None, place.values())))
    return place


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        (None, None, None),
        (int, 3, 3),
        (float, 3, 3.0),
        (str, "a\ud800b", "a\ud800b"),
        (Book | None, Book(title="A", parts=[Book(title="B")]), None),
        (list[Point], [Point(1.5)], [{"x": 1.5}]),
        (tuple[Genre, date], (Genre.FICTION, date(2026, 5, 4)), ["fiction", "2026-05-04"]),
        (dict[int, set[str]], {1: {"a"}}, {"1": ["a"]}),
        (Literal["a", 1], 1, 1),
        (Any, {"p": Point(1), "b": [Book(title="A")]}, None),
        (int, 10**40, 10**40),
        (Named, Named(theValue=1), {"theValue": 1}),
    ],
)
def test_a_result_is_json_by_its_type(kind: Any, value: Any, shown: Any):
    book = {"title": "A", "pages": 1, "parts": [{"title": "B", "pages": 1, "parts": []}]}
    if kind is Any:
        shown = {"p": {"x": 1}, "b": [book | {"parts": []}]}
    elif kind == Book | None:
        shown = book

    assert answered(kind, value) == {"result": shown, "attachments": []}


@pytest.mark.parametrize(
    ("kind", "value", "field"),
    [
        (int, "3", ""),
        (int, True, ""),
        (list[int], (1, 2), ""),
        (list[int], [1, 2, "3"], "2"),
        (dict[str, list[Book]], {"a": [Book(title="A"), 5]}, "a.1"),
        (Book, {"title": "A", "pages": 0}, "pages"),
        (Book, Book.model_construct(title="A", pages="many"), "pages"),
        (Point, Point("here"), "x"),  # pyright: ignore[reportArgumentType]
        (None, 1, ""),
        (Any, object(), ""),
        (Any, Lazy, ""),
        (dict[str, int], LazyDict(a=1), ""),
        (Packed, Packed(data=b"\xff"), ""),
    ],
)
def test_a_result_of_another_type_is_told_with_its_place(kind: Any, value: Any, field: str):
    assert misfit(kind, value)["field"] == field


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("kind", "wrap", "field"),
    [
        (float, lambda n: n, ""),
        (list[float | None], lambda n: [None, n], "1"),
        (dict[str, list[Point]], lambda n: {"a": [Point(1), Point(n)]}, "a.1.x"),
        (Any, lambda n: {"a": [1.0, n]}, "a.1"),
        (dict[str, Any], lambda n: {"a": (n,), "b": None}, "a.0"),
        (list, lambda n: [{1: n}], "0.1"),
    ],
    ids=["float", "optional", "nested", "any", "values", "bare"],
)
def test_a_number_that_json_does_not_have_is_refused_with_its_place(
    kind: Any, wrap: Any, field: str, number: float
):
    found = misfit(kind, wrap(number))

    assert found == {"field": field, "message": f"it is {number!r}, which JSON does not have"}


def _ring() -> list[Any]:
    ring: list[Any] = [1]
    ring.append({"again": ring})
    return ring


def _tower(levels: int) -> Any:
    tower: Any = "top"
    for _ in range(levels):
        tower = [tower]
    return tower


def _book() -> Book:
    book = Book(title="A")
    book.parts.append(book)
    return book


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        (Any, _ring(), "it contains itself"),
        (list[Any], _ring(), "it contains itself"),
        (Book, _book(), "it contains itself"),
        (Any, _tower(100_000), "it is nested too deeply"),
        (list[Any], _tower(1000), "it is nested too deeply"),
    ],
    ids=["any", "list", "model", "deep", "deeper"],
)
def test_a_result_without_an_end_is_refused(kind: Any, value: Any, says: str):
    assert misfit(kind, value) == {"field": "", "message": says}


@pytest.mark.parametrize(
    ("data", "mime_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"%PDF-1.7", "application/pdf"),
        (b"", "application/octet-stream"),
        (bytearray(b"\0\1"), "application/octet-stream"),
    ],
)
def test_bytes_become_an_attachment(data: Any, mime_type: str):
    assert answered(type(data), data) == {
        "result": {"attachment": 1, "mime_type": mime_type, "bytes": len(data)},
        "attachments": [{"mime_type": mime_type, "data": base64.b64encode(data).decode()}],
    }


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        (list[bytes], [PNG, b"a"], lambda png, raw: [png, raw]),
        (tuple[str, bytes, bytes], ("text", PNG, b"a"), lambda png, raw: ["text", png, raw]),
        (list[bytes | str], [PNG, "text", b"a"], lambda png, raw: [png, "text", raw]),
        (dict[str, bytes | None], {"a": PNG, "b": b"a"}, lambda png, raw: {"a": png, "b": raw}),
        (Any, [{"a": [PNG]}, memoryview(b"a")], lambda png, raw: [{"a": [png]}, raw]),
        (list, [PNG, (b"a",)], lambda png, raw: [png, [raw]]),
    ],
    ids=["list", "tuple", "union", "dict", "any", "bare"],
)
def test_bytes_within_a_result_are_replaced_by_what_says_where_they_are(
    kind: Any, value: Any, shown: Any
):
    found = answered(kind, value)

    assert found["result"] == shown(
        {"attachment": 1, "mime_type": "image/png", "bytes": len(PNG)},
        {"attachment": 2, "mime_type": "application/octet-stream", "bytes": 1},
    )
    assert [base64.b64decode(each["data"]) for each in found["attachments"]] == [PNG, b"a"]


@pytest.fixture
def image(monkeypatch: pytest.MonkeyPatch) -> type[Any]:
    """What is needed of the class of Pillow's images."""

    class Image:
        def __init__(self, mode: str) -> None:
            self.mode = mode

        def convert(self, mode: str) -> "Image":
            return Image(mode)

        def save(self, file: Any, format: str) -> None:
            if self.mode not in ("RGB", "RGBA", "L"):
                raise OSError(f"cannot write mode {self.mode} as {format}")
            file.write(PNG + self.mode.encode())

    module = ModuleType("PIL.Image")
    module.Image = Image  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "PIL.Image", module)
    return Image


@pytest.mark.parametrize(
    ("mode", "written"), [("L", "L"), ("CMYK", "RGB"), ("RGBa", "RGBA"), ("F", "RGB")]
)
def test_an_image_becomes_a_png(image: type[Any], mode: str, written: str):
    found = answered(tuple[image, str], (image(mode), "a picture"))

    assert found["result"][0]["mime_type"] == "image/png"
    assert base64.b64decode(found["attachments"][0]["data"]) == PNG + written.encode()


def test_too_many_pieces_of_binary_data_are_refused():
    assert "more than 100 pieces" in misfit(list[bytes], [b"a"] * 101)["message"]


def written(workspace: Path) -> list[str]:
    return sorted(os.listdir(workspace / FOLDER))


@pytest.mark.parametrize(
    ("kind", "value", "extension", "mime_type", "content"),
    [
        (str, "ö" * MAX_JSON_BYTES, "txt", "text/plain", ("ö" * MAX_JSON_BYTES).encode()),
        (list[str], ["x" * MAX_JSON_BYTES], "json", "application/json", None),
        (list[int], [0] * 250_000, "json", "application/json", None),
        (bytes, PNG * 500_000, "png", "image/png", PNG * 500_000),
        (bytes, b"a" * (MAX_ATTACHMENT_BYTES + 1), "bin", "application/octet-stream", None),
    ],
    ids=["text", "list", "values", "image", "bytes"],
)
def test_a_large_result_becomes_a_file_of_the_workspace(
    tmp_path: Path, kind: Any, value: Any, extension: str, mime_type: str, content: Any
):
    (tmp_path / FOLDER).mkdir()
    found = answered(kind, value, tmp_path)
    if content is None:
        content = value if kind is bytes else json.dumps(value, separators=(",", ":")).encode()

    (name,) = written(tmp_path)
    assert name.startswith("my_tools.function-")
    assert name.endswith(f".{extension}")
    assert (tmp_path / FOLDER / name).read_bytes() == content
    shown = {"path": f"{FOLDER}/{name}", "bytes": len(content), "mime_type": mime_type}
    assert found == {"file": shown, "attachments": []}


def test_results_just_below_the_limits_stay_in_the_answer():
    text, data = "x" * (MAX_JSON_BYTES - 2), b"a" * MAX_ATTACHMENT_BYTES

    assert answered(str, text)["result"] == text
    assert len(answered(bytes, data)["attachments"]) == 1


def test_what_does_not_fit_beside_other_attachments_becomes_a_file(tmp_path: Path):
    sizes = [MAX_ATTACHMENT_BYTES + 1, MAX_ATTACHMENT_BYTES, MAX_ATTACHMENT_BYTES, 1]
    found = answered(list[bytes], [b"a" * size for size in sizes], tmp_path)

    places = [each.get("attachment") for each in found["result"]]
    assert places == [None, 1, 2, None]
    assert {each["path"] for each in found["result"] if "path" in each} == {
        f"{FOLDER}/{name}" for name in written(tmp_path)
    }
    assert [each["bytes"] for each in found["result"]] == sizes


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_on_a_full_disk_all_files_of_a_result_are_taken_back(tiny_disk: Path):
    with pytest.raises(ToolError) as caught:
        answered(list[bytes], [b"a" * 5_000_000, b"b" * 5_000_000], tiny_disk)

    assert caught.value.code is ErrorCode.DISK_QUOTA
    assert FOLDER in caught.value.message
    assert written(tiny_disk) == []


def test_a_folder_that_cannot_be_had_is_told(tmp_path: Path):
    (tmp_path / FOLDER).write_text("in the way")

    with pytest.raises(ToolError) as caught:
        answered(bytes, b"a" * 5_000_000, tmp_path)
    assert caught.value.code is ErrorCode.ALREADY_EXISTS


def test_more_pieces_of_binary_data_than_anybody_looks_at_are_refused_in_our_words():
    with pytest.raises(ToolError) as raised:
        answered(list[bytes], [b"x"] * 101)

    assert raised.value.code is ErrorCode.INVALID_RESULT
    assert raised.value.message.endswith("it has more than 100 pieces of binary data")
