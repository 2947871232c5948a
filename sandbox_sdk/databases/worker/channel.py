"""One channel of a worker: a thread that takes a request, does it, answers, and takes the next."""

import logging
import socket
import threading
import traceback
from contextlib import suppress
from typing import Any

from tool_plugins.errors import ErrorCode, ToolError

from .alarms import Alarms
from .driver import Call, Caps
from .process import MAX_DATA_BYTES, release_memory
from .protocol import (
    MAX_FRAME_BYTES,
    PIECE,
    RECEIVE_BYTES,
    FrameError,
    Frames,
    dumps,
    frame,
    parse,
)
from .requests import Requests
from .values import encode

MAX_MESSAGE_CHARS = 4000
MAX_TRACEBACK_CHARS = 20_000

logger = logging.getLogger(__name__)


class Channel:
    """Runs until the host closes its end."""

    def __init__(self, sock: socket.socket, requests: Requests, alarms: Alarms) -> None:
        self._sock = sock
        self._requests = requests
        self._alarms = alarms
        self._lock = threading.Lock()
        self._number = 0
        self._cancelled = 0
        self._call: Call | None = None

    def run(self) -> None:
        """Serves the requests of this channel, which come one at a time."""
        frames = Frames()
        # The host closes its end when it needs no answer any more.
        with self._sock, suppress(OSError):
            while data := self._sock.recv(RECEIVE_BYTES):
                for _, body in frames.feed(data):
                    self._serve(parse(body))

    def cancel(self, number: int) -> None:
        """Cancels the request of that number, even if it has not been read yet."""
        with self._lock:
            self._cancelled = max(self._cancelled, number)
            call = self._call if self._number == number else None
        if call is not None:
            call.cancel()

    def _serve(self, fields: dict[str, Any]) -> None:
        self._sock.sendall(self._answer(fields))
        try:
            self._requests.settle(fields)
        except Exception:
            # The answer is out. What is broken shows in the next one.
            logger.exception("a driver could not settle")

    def _answer(self, fields: dict[str, Any]) -> bytes:
        try:
            answer = frame(dumps({"ok": self._run(fields)}))
        except ToolError as exc:
            return frame(dumps({"error": _plain(exc)}))
        except MemoryError:
            answer = None
        except FrameError:
            return frame(dumps({"error": too_large(MAX_FRAME_BYTES).as_dict()}))
        except BaseException as exc:  # a channel ends with its socket only
            text = "".join(traceback.format_exception(exc))[-MAX_TRACEBACK_CHARS:]
            return frame(dumps({"error": _internal().as_dict(), "traceback": text}))
        if answer is None:
            # Only now are the frames gone that held the memory.
            release_memory()
            return frame(dumps({"error": too_large(MAX_DATA_BYTES).as_dict()}))
        return answer

    def _run(self, fields: dict[str, Any]) -> dict[str, Any]:
        timeout_s = self._requests.timeout_s(fields)
        caps = Caps(fields["rows"], fields["bytes"], fields["cell_chars"])
        call = Call(timeout_s=timeout_s, caps=caps)
        with self._lock:
            self._number, self._call = fields["number"], call
            call.cancelled = self._cancelled >= self._number
        self._alarms.set(self, timeout_s, call.cancel)
        try:
            return self._requests.answer(fields, call, self._write)
        except ToolError as exc:
            if exc.code == ErrorCode.QUERY_ERROR and (call.cancelled or call.remaining_s <= 0):
                raise call.timeout() from exc
            raise
        finally:
            self._alarms.clear(self)
            with self._lock:
                self._call = None

    def _write(self, piece: bytes) -> None:
        self._sock.sendall(frame(piece, PIECE))


def too_large(limit: int) -> ToolError:
    """The error of an answer that does not fit."""
    return ToolError(
        ErrorCode.TOO_LARGE,
        f"the answer does not fit into {limit // 1024**2} MB",
        hint="ask for fewer rows or columns, or for parts of long values",
    )


def _internal() -> ToolError:
    return ToolError(
        ErrorCode.INTERNAL,
        "the database driver failed in a way that was not foreseen",
        hint="the host's log says more; try another form of the call",
    )


def _plain(error: ToolError) -> dict[str, Any]:
    """The wire form of an error, whatever a library put into it."""
    fields = error.as_dict()
    for name in ("message", "hint"):
        text = str(encode(str(fields[name])))
        long = len(text) > MAX_MESSAGE_CHARS
        fields[name] = f"{text[:MAX_MESSAGE_CHARS]}…" if long else text
    return fields | {"details": encode(fields["details"])}
