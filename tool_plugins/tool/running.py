"""One call of a custom tool while it runs: what it says, prints and asks. Nothing is trusted."""

import json
import math
from itertools import count
from typing import Any

from tool_plugins.context import ToolContext
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.terminal.output import Output, Spool
from tool_plugins.terminal.text import LiveText
from tool_plugins.worker.process import Ask
from tool_plugins.worker.wire import TooLongError

MAX_TOOL_CHARS = 80
MAX_PROGRESS_CHARS = 500


class Logs:
    """What was printed, in bounded memory: the beginning and the end of it."""

    def __init__(self, context: ToolContext) -> None:
        self._context = context
        self._output: Output | None = None
        self._live: LiveText | None = LiveText() if context.live else None

    def feed(self, data: bytes) -> None:
        """Takes the next bytes, and shows them to who follows."""
        if self._output is None:
            # Without room for files: what does not fit is counted and left out.
            self._output = Output(Spool(self._context.host.spool, capacity=0), "logs")
        self._output.feed(memoryview(data))
        self._show(data)

    def finish(self) -> tuple[str, bool]:
        """The text, and whether something of it is left out."""
        if self._output is None:
            return "", False
        self._show(b"", last=True)
        excerpt = self._output.excerpt()
        return excerpt.text, excerpt.omitted > 0

    def _show(self, data: bytes, *, last: bool = False) -> None:
        if self._live is not None and (text := self._live.feed(data, last=last)):
            self._context.emit({"event": "stdout", "text": text})


class Running:
    """What a call says before it is done, and what it has asked and not been told yet."""

    def __init__(self, context: ToolContext) -> None:
        self._context = context
        self._asks: dict[int, Ask] = {}
        self._numbers = count()
        self.logs = Logs(context)

    def on_event(self, event: dict[str, Any]) -> None:
        """Hands progress on; there is nothing else to be told."""
        if not self._context.live or event.get("event") != "progress":
            return
        progress, message = _number(event.get("progress")), event.get("message")
        if progress is None:
            return
        self._context.emit(
            {
                "event": "progress",
                "progress": progress,
                "total": _number(event.get("total")),
                "message": message[:MAX_PROGRESS_CHARS] if isinstance(message, str) else "",
            }
        )

    def on_ask(self, ask: Ask) -> None:
        """Asks the host. `Worker` bounds how many may be open, and how large they are."""
        try:
            event = self._event(ask.request)
        except ToolError as exc:
            ask.reply({"error": exc.as_dict()})
            return
        number = next(self._numbers)
        self._asks[number] = ask
        self._context.emit({"event": "ask", "ask": number, **event})

    def answer(
        self, number: int, data: dict[str, Any] | None, error: dict[str, Any] | None
    ) -> None:
        """Brings the answer to what was asked under that number.

        Raises:
            ToolError: nothing was, or it has been answered (NOT_FOUND).
        """
        ask = self._asks.pop(number, None)
        if ask is None:
            raise ToolError(ErrorCode.NOT_FOUND, f"the call asked nothing under {number}")
        try:
            ask.reply({"data": data or {}} if error is None else {"error": error})
        except TooLongError:
            refusal = ToolError(
                ErrorCode.TOO_LARGE, "the answer is too large", hint="ask for less at a time"
            )
            ask.reply({"error": refusal.as_dict()})

    def _event(self, request: dict[str, Any]) -> dict[str, Any]:
        if not self._context.live:
            raise ToolError(
                ErrorCode.UNSUPPORTED,
                "this call cannot use tools",
                hint="a function that uses tools has a parameter ctx",
            )
        tool, positional = request.get("tool"), request.get("positional", [])
        named = request.get("named", {})
        event = {"tool": tool, "positional": positional, "named": named}
        if (
            not (isinstance(tool, str) and len(tool) <= MAX_TOOL_CHARS)
            or not (isinstance(positional, list) and isinstance(named, dict))
            or not is_json(event)
        ):
            raise ToolError(ErrorCode.INVALID_ARGUMENT, "this is not the call of a tool")
        return event


def _number(value: Any) -> float | None:
    """A finite number that fits; None if it is none."""
    if type(value) not in (int, float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def is_json(value: Any) -> bool:
    """Whether it can be written as it was read: JSON can spell numbers that are none."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True
