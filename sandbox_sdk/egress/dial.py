"""Connects to addresses that were checked, and to nothing else: names never get here."""

import asyncio
import os
import socket
from collections.abc import Sequence

from .decision import Reason
from .judge import IPAddress
from .refusal import RefusedError


async def dial(
    addresses: Sequence[IPAddress], host: str, port: int, timeout_s: float
) -> tuple[socket.socket, IPAddress]:
    """A connection to the first address that takes one, and which that was.

    Each gets its share of the time that is left, so that a silent one leaves some to the next.

    Raises:
        RefusedError: none did.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    failure: OSError | TimeoutError = TimeoutError()
    for index, address in enumerate(addresses):
        left_s = max(deadline - loop.time(), 0)
        try:
            async with asyncio.timeout(left_s / (len(addresses) - index)):
                return await _connect(address, port), address
        except (OSError, TimeoutError) as exc:
            failure = exc
    if isinstance(failure, TimeoutError):
        message = f"{host}:{port} did not answer within {timeout_s:g} s"
        raise RefusedError(Reason.TIMEOUT, message) from failure
    why = os.strerror(failure.errno) if failure.errno else str(failure)
    message = f"{host}:{port} cannot be reached: {why.lower()}"
    raise RefusedError(Reason.UNREACHABLE, message) from failure


async def _connect(address: IPAddress, port: int) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    upstream = socket.socket(family, socket.SOCK_STREAM)
    try:
        upstream.setblocking(False)
        upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Not `loop.sock_connect`, which may ask the name service even for an address.
        try:
            upstream.connect((str(address), port))
        except BlockingIOError:
            await _writable(upstream)
            if error := upstream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(error, os.strerror(error)) from None
    except BaseException:
        upstream.close()
        raise
    return upstream


async def _writable(upstream: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(upstream.fileno(), lambda: ready.done() or ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_writer(upstream.fileno())
