"""What a function returned, as the answer of its call. Runs in a worker.

`result` is JSON by the return type; binary data is put aside as attachments. What is too large for
a message becomes a file of the workspace: all files of a result are written, or none is.
"""

import base64
import io
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.filesystem.errors import path_errors
from tool_plugins.worker.wire import excess

from .misfits import Misfit, misfits, sentence
from .problems import shorten
from .returning import is_binary

if TYPE_CHECKING:
    from .signature import Function

MIB = 1024 * 1024
MAX_JSON_BYTES = MIB
MAX_ATTACHMENT_BYTES = 4 * MIB
MAX_ATTACHMENTS_BYTES = 8 * MIB
"""Together: a message has room for so much in base64."""

MAX_BINARIES = 100
FOLDER = ".tool_results"
HINT = "return what the type hint says, or change the type hint"

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png", "png"),
    (b"\xff\xd8\xff", "image/jpeg", "jpg"),
    (b"GIF87a", "image/gif", "gif"),
    (b"GIF89a", "image/gif", "gif"),
    (b"%PDF-", "application/pdf", "pdf"),
)
# How a model with a field of another type than it declares is told of.
_OTHER_TYPE = re.compile(r"Expected `([^`]+)`.*field_name='([^']*)'.*input_type=(\w+)")
_PNG_MODES = frozenset({"1", "I", "I;16", "L", "LA", "P", "RGB", "RGBA"})
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def answer(function: "Function", returned: Any, name: str, workspace: Path) -> dict[str, Any]:
    """The data that answers the call. `name` is the tool's, and begins the names of files.

    Raises:
        ToolError: INVALID_RESULT, it is not of the return type or cannot be JSON; DISK_QUOTA and
            others, a file cannot be written.
        Exception: any that what was returned raises when it is looked at.
    """
    binaries = _Binaries(name)
    value, body = _json(function, returned, binaries)
    answer: dict[str, Any] = {"attachments": binaries.attachments}
    if is_binary(returned) and binaries.files:
        answer["file"] = _described(binaries.files[0])
    elif len(body) > MAX_JSON_BYTES or excess(body):
        answer["file"] = _described(binaries.keep(*_document(value, body)))
    else:
        answer["result"] = value
    if binaries.files:
        _write(binaries.files, workspace)
    return answer


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    mime_type: str
    data: bytes


class _Binaries:
    """Where binary data goes while a result is serialized (`returning.Attachments`)."""

    def __init__(self, name: str) -> None:
        self.attachments: list[dict[str, str]] = []
        self.files: list[_File] = []
        # What it raised: pydantic only tells the words of it.
        self.refusal: ToolError | None = None
        self._name = name
        self._room = MAX_ATTACHMENTS_BYTES

    def add(self, value: Any) -> dict[str, Any]:
        """Keeps it as an attachment, or as a file if it is large; gives what stands for it."""
        if len(self.attachments) + len(self.files) >= MAX_BINARIES:
            self.refusal = _invalid(
                [Misfit("", f"it has more than {MAX_BINARIES} pieces of binary data")],
                hint="write them to files of the workspace and return their paths",
            )
            raise self.refusal
        data = value if type(value) is bytes else _bytes(value)
        mime_type, extension = _kind(data)
        if len(data) > min(self._room, MAX_ATTACHMENT_BYTES):
            return _described(self.keep(data, mime_type, extension))
        self._room -= len(data)
        self.attachments.append({"mime_type": mime_type, "data": base64.b64encode(data).decode()})
        # As over MCP, where the first one is attachment 1.
        return {"attachment": len(self.attachments), "mime_type": mime_type, "bytes": len(data)}

    def keep(self, data: bytes, mime_type: str, extension: str) -> _File:
        """Makes it a file, which is not written yet."""
        file = _File(f"{self._name}-{os.urandom(8).hex()}.{extension}", mime_type, data)
        self.files.append(file)
        return file


def _bytes(value: Any) -> bytes:
    if not hasattr(value, "save"):
        return bytes(value)
    image, data = value, io.BytesIO()
    if image.mode not in _PNG_MODES:
        image = image.convert("RGBA" if "a" in image.mode or "A" in image.mode else "RGB")
    image.save(data, format="PNG")
    return data.getvalue()


def _kind(data: bytes) -> tuple[str, str]:
    """The type and the usual extension, by how it begins."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp", "webp"
    for magic, mime_type, extension in _MAGIC:
        if data.startswith(magic):
            return mime_type, extension
    return "application/octet-stream", "bin"


def _json(function: "Function", returned: Any, binaries: _Binaries) -> tuple[Any, bytes]:
    """The result as JSON: its value, and how it is written."""
    adapter = function.result
    try:
        value = adapter.validate_python(returned, strict=True)
        # By alias, as the schema says it.
        shown = adapter.dump_python(
            value, mode="json", by_alias=True, warnings="error", context=binaries
        )
        body = _encoded(shown)
        if body is None or b"null" in body:
            # A number that JSON does not have is null where the type leaves open what it is.
            _check_finite(shown, adapter.dump_python(value, warnings=False), ())
    except ValidationError as exc:
        raise _invalid(misfits(exc)) from None
    except (PydanticSerializationError, RecursionError) as exc:
        raise binaries.refusal or _invalid([_unfit(exc)]) from None
    except ValueError as exc:
        if not isinstance(exc, UnicodeDecodeError) and "Circular reference" not in str(exc):
            raise
        raise _invalid([_unfit(exc)]) from None
    if body is None:
        raise _invalid([Misfit("", "it has a number that JSON has not")])
    return shown, body


def _encoded(value: Any) -> bytes | None:
    """The JSON, without what is no text in it; None where a number cannot be JSON."""
    try:
        # Halves of characters become "?", as everywhere on the wire.
        return _encode(value).encode("utf-8", "replace")
    except ValueError:
        return None


def _check_finite(shown: Any, value: Any, path: tuple[Any, ...]) -> None:
    """Looks for a number that is not finite in a value, beside how it is shown in JSON."""
    if isinstance(value, float):
        if value - value != 0 and not isinstance(shown, str):
            place = ".".join(map(str, path))
            found = [Misfit(place, f"it is {float(value)!r}, which JSON does not have")]
            raise _invalid(found, hint="return None where there is no number")
    elif isinstance(value, dict) and isinstance(shown, dict):
        for (key, below), each in zip(shown.items(), value.values(), strict=False):
            _check_finite(below, each, (*path, key))
    elif isinstance(value, list | tuple | set | frozenset) and isinstance(shown, list):
        for number, (below, each) in enumerate(zip(shown, value, strict=False)):
            _check_finite(below, each, (*path, number))


def _unfit(exc: Exception) -> Misfit:
    """What cannot be JSON, in words."""
    text = " ".join(str(exc).split())
    if "Circular reference" in text:
        return Misfit("", "it contains itself")
    if isinstance(exc, RecursionError) or "RecursionError" in text or "depth exceeded" in text:
        return Misfit("", "it is nested too deeply")
    if isinstance(exc, UnicodeDecodeError):
        return Misfit("", "bytes within an object are to be text: return them in a list or a tuple")
    if found := _OTHER_TYPE.search(text):
        expected, field, kind = found.groups()
        return Misfit(field, f"it should be {expected}, not {kind}")
    return Misfit("", shorten(text))


def _document(value: Any, body: bytes) -> tuple[bytes, str, str]:
    """What a large result is as a file: its contents, type and extension."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace"), "text/plain", "txt"
    return body, "application/json", "json"


def _described(file: _File) -> dict[str, Any]:
    return {
        "path": f"{FOLDER}/{file.name}",
        "bytes": len(file.data),
        "mime_type": file.mime_type,
    }


def _write(files: list[_File], workspace: Path) -> None:
    # Few results are so large, and it takes some milliseconds to load.
    from tool_plugins.filesystem.writing import TEMPORARY_PREFIX

    folder = workspace / FOLDER
    written: list[Path] = []
    try:
        for file in files:
            with path_errors(f"{FOLDER}/{file.name}"):
                folder.mkdir(exist_ok=True)
                draft, target = folder / f"{TEMPORARY_PREFIX}{file.name}", folder / file.name
                written.append(draft)
                _fill(draft, file.data)
                os.rename(draft, target)
                written[-1] = target
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise


def _fill(path: Path, data: bytes) -> None:
    with path.open("xb", buffering=0) as file:
        left = memoryview(data)
        while left:
            left = left[file.write(left) :]


def _invalid(found: list[Misfit], *, hint: str = HINT) -> ToolError:
    return ToolError(
        ErrorCode.INVALID_RESULT,
        f"the result is not what its type says: {sentence(found)}",
        hint=hint,
        details={"fields": [each.as_dict() for each in found]},
    )
