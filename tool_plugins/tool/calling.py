"""Calls a function of the user's file: the handler of the verb `call`. Runs in a worker.

A function runs as in a program of its own: a `def` in the main thread, an `async def` on an event
loop that stays for the next call. What it leaves behind in the process is put back, or the process
ends after its answer.
"""

import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from contextvars import Context, copy_context
from functools import cache
from inspect import isawaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.worker.child import Call

from .answering import answer
from .asking import context_of
from .loading import function, loaded
from .misfits import misfits, sentence
from .raising import raised
from .surroundings import Surroundings

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from .signature import Function

# As they were before any file was loaded.
_getpid, _exit = os.getpid, os._exit


def call(args: dict[str, Any], call: Call) -> dict[str, Any]:
    """Calls `args["function"]` with `args["arguments"]`.

    Gives `result` or `file` (the fields of `results.ResultFile`), and `attachments`, each with
    `mime_type` and `data` in base64.

    Raises:
        ToolError: NOT_FOUND, there is no such function; INVALID_ARGUMENT; TOOL_RAISED;
            INVALID_RESULT; DISK_QUOTA and others, a large result cannot be written.
    """
    called = function(args["function"])
    process = _process()
    try:
        return process.call(called, args["arguments"], call)
    finally:
        process.end_fork()
        process.surroundings.leave()
        call.spent |= process.surroundings.spoiled


class _Process:
    """What stays between the calls of one process."""

    def __init__(self) -> None:
        self.surroundings = Surroundings()
        self._file = loaded()
        # Every call begins there.
        self._workspace = Path.cwd()
        self._loop: AbstractEventLoop | None = None
        self._id = _getpid()

    def call(self, called: "Function", arguments: Mapping[str, Any], call: Call) -> dict[str, Any]:
        """See `call`."""
        try:
            positional, named = self._bound(called, arguments, call)
            returned = self._returned(called.target, positional, named, call)
            name = f"{self._file.namespace}.{called.name}"
            return answer(called, returned, name, self._workspace)
        except ToolError:
            raise
        except BaseException as exc:  # validators and lazy objects are user code
            raise self._raised(exc, call) from None

    def end_fork(self) -> None:
        """A fork that came back from user code ends: there must not be two who answer."""
        if _getpid() != self._id:
            _exit(0)

    def _bound(
        self, called: "Function", arguments: Mapping[str, Any], call: Call
    ) -> tuple[list[Any], dict[str, Any]]:
        context = None
        if called.context:
            context = context_of(call, self._workspace, asynchronous=called.asynchronous)
        try:
            return called.bind(arguments, context)
        except ValidationError as exc:
            known = [each.key for each in called.parameters if each.key]
            found = misfits(exc, known)
            raise ToolError(
                ErrorCode.INVALID_ARGUMENT,
                f"invalid arguments for {self._file.namespace}.{called.name}: {sentence(found)}",
                hint=f"it takes: {', '.join(known) or 'no arguments'}",
                details={"fields": [each.as_dict() for each in found]},
            ) from None

    def _returned(
        self, target: Callable[..., Any], positional: list[Any], named: dict[str, Any], call: Call
    ) -> Any:
        # A context of its own: what it sets there (precision, locale) is not the next call's.
        context = copy_context()
        try:
            returned = context.run(target, *positional, **named)
            self.surroundings.mend()
            if isawaitable(returned):
                returned = self._awaited(returned, context)
                self.surroundings.mend()
            return returned
        except BaseException as exc:  # sys.exit() is one of what user code may do
            raise self._raised(exc, call) from None
        finally:
            self.end_fork()

    def _raised(self, exc: BaseException, call: Call) -> ToolError:
        self.end_fork()
        self.surroundings.mend()
        # Who knows what could not be finished for want of memory.
        call.spent |= issubclass(type(exc), MemoryError)
        return raised(exc, self._file.filename)

    def _awaited(self, awaitable: Awaitable[Any], context: Context) -> Any:
        # Most files have no need of it, and it takes 50 milliseconds to load.
        import asyncio

        if self._loop is None or self._loop.is_closed():
            self._loop = asyncio.new_event_loop()
        loop = self._loop
        task = loop.create_task(_wait_for(awaitable), context=context)
        task.add_done_callback(lambda _task: loop.stop())
        while not task.done():
            # Tasks of earlier calls go on meanwhile. How one of them ends concerns nobody.
            with suppress(SystemExit, KeyboardInterrupt):
                loop.run_forever()
        return task.result()


_process = cache(_Process)


async def _wait_for(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
