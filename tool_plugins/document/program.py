"""What the document tool does in its worker process: it converts a file and gives a piece."""

import os
from dataclasses import dataclass
from typing import Any

from tool_plugins.pieces import piece_of
from tool_plugins.worker.child import Call

from .convert import Converted, convert

MAX_KEPT_CHARS = 8_000_000


@dataclass(slots=True)
class Last:
    """The document that was read last: its next piece need not be converted again."""

    key: tuple[Any, ...] = ()
    document: Converted | None = None

    def get(self, key: tuple[Any, ...]) -> Converted | None:
        """The document of that key, if it is this one."""
        return self.document if self.key == key else None

    def put(self, key: tuple[Any, ...], document: Converted) -> None:
        """Remembers a document, unless it is very large."""
        if len(document.content) <= MAX_KEPT_CHARS:
            self.key, self.document = key, document

    def forget(self) -> None:
        """Gives its memory to the next."""
        self.key, self.document = (), None


_last = Last()


def read(args: dict[str, Any], call: Call) -> dict[str, Any]:
    """A piece of the document behind the descriptor, as the fields of `ReadResult`."""
    document = _converted(call.descriptors[0], args["pages"], args["name"])
    content = piece_of(document.content, args["offset"], args["max_chars"], what="document")
    about = {"format": document.format, "title": document.title, "pages": document.pages}
    return {**about, **content}


def _converted(fd: int, pages: str | None, name: str) -> Converted:
    status = os.fstat(fd)
    # The name counts too: it may be all that tells what kind of document it is.
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    key = (*key, pages, name)
    document = _last.get(key)
    if document is None:
        _last.forget()
        with open(fd, "rb", closefd=False) as file:
            document = convert(file, pages=pages, name=name)
        _last.put(key, document)
    return document


HANDLERS = {"read": read}
