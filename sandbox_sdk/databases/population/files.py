"""The files a population names: found, hashed, read as a stream, and noticed when they change."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from .contents import PopulationError
from .entries import Entry

MAX_LINE_BYTES = 16 * 1024 * 1024
MAX_SCRIPT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file with its end. `offset` is the bytes of the file up to its end."""

    number: int
    text: str
    offset: int


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file as it was when the population was loaded. `sha256` is hexadecimal."""

    path: Path
    size: int
    sha256: str
    state: tuple[int, ...] = field(repr=False)

    def lines(self) -> Iterator[Line]:
        """The lines, in UTF-8 and without a byte order mark, one at a time.

        Raises:
            PopulationError: the file is not the one that was loaded, is not text, or a line is
                longer than `MAX_LINE_BYTES`.
        """
        offset, number = 0, 0
        with self._open() as file:
            while raw := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                offset += len(raw)
                if len(raw) > MAX_LINE_BYTES:
                    reason = f"the line is longer than {MAX_LINE_BYTES} bytes"
                    raise PopulationError(self.path, number, reason)
                yield Line(number, self._decode(raw, number), offset)

    def head(self, size: int) -> bytes:
        """At most so many bytes from its beginning. Raises if the file was changed."""
        with self._open() as file:
            return file.read(size)

    def text(self) -> str:
        """The whole of a script. Raises as `lines` does, and if it is too large for one."""
        if self.size > MAX_SCRIPT_BYTES:
            reason = f"a script is at most {MAX_SCRIPT_BYTES} bytes"
            raise PopulationError(self.path, None, reason, hint="load rows from .csv or .jsonl")
        return "".join(line.text for line in self.lines())

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        try:
            with self.path.open("rb") as file:
                self._check(file)
                yield file
                self._check(file)
        except OSError as exc:
            reason = f"cannot be read: {exc.strerror}"
            raise PopulationError(self.path, None, reason) from exc

    def _check(self, file: BinaryIO) -> None:
        if _state(file) != self.state:
            reason = "was changed after the population was loaded"
            raise PopulationError(self.path, None, reason, hint="load it again")

    def _decode(self, raw: bytes, number: int) -> str:
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as exc:
            column = exc.start + 1
            raise PopulationError(self.path, number, "is not UTF-8", column=column) from None
        if "\0" in text:
            raise PopulationError(self.path, number, "has a NUL character")
        return text


def _state(file: BinaryIO) -> tuple[int, ...]:
    status = os.fstat(file.fileno())
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class Files:
    """The files of one population: relative to the folder of its YAML file, and inside it."""

    def __init__(self, population: Path) -> None:
        self._folder = population.parent
        self.found: list[DataFile] = []

    def find(self, entry: Entry) -> DataFile:
        """The file an entry names. A relative path stays below the folder, links included.

        Raises:
            PopulationError: names the line of the entry.
        """
        name = entry.text()
        path = self._folder / name
        try:
            real = path.resolve()
            allowed = Path(name).is_absolute() or real.is_relative_to(self._folder.resolve())
            found = self._read(path) if allowed and real.is_file() else None
        except (OSError, RuntimeError, ValueError) as exc:  # such as a link to itself, or a NUL
            raise entry.error(f"{name!r} cannot be read: {exc}") from exc
        if not allowed:
            hint = "write an absolute path"
            raise entry.error(f"{name!r} leads out of the folder of this file", hint=hint)
        if found is None:
            raise entry.error(f"{path} is not a file" if real.exists() else f"there is no {path}")
        self.found.append(found)
        return found

    @staticmethod
    def _read(path: Path) -> DataFile:
        with path.open("rb") as file:
            state = _state(file)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = os.fstat(file.fileno()).st_size
        return DataFile(path, size, digest, state)
