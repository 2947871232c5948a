"""The life of a server process: signals in, exit code out, nothing left behind."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import NoReturn

import uvloop

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
STOP_TIMEOUT_S = 4.8
"""From the signal to the exit. Who runs servers often kills them after five seconds."""

Serve = Callable[[asyncio.Event], Awaitable[None]]


def run_until_signal(serve: Serve) -> NoReturn:
    """Runs `serve(stop)`, sets `stop` at the first signal, and exits the process.

    The exit code is 0 where `serve` ended by itself, 128 + signal where a signal ended it, and 1
    where it failed. It does not wait for threads: one may sit in a read that nobody can end.
    """
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            code = runner.run(_run(serve))
    except BaseException:
        logger.exception("the server failed")
        code = 1
    _exit(code)


async def _run(serve: Serve) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    caught: list[int] = []

    def on_signal(number: int) -> None:
        caught.append(number)
        stop.set()
        # Whatever holds the shutdown up, the process is gone in time.
        loop.call_later(STOP_TIMEOUT_S, _exit, 128 + number)

    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    try:
        await serve(stop)
    except Exception:
        logger.exception("the server failed")
        _exit(1)
    # From here, not after the loop is closed: closing waits for threads.
    _exit(128 + caught[0] if caught else 0)


def _exit(code: int) -> NoReturn:
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(code)
