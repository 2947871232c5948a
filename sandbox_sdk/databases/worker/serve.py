"""A worker: its main thread minds the control socket and the clock, one thread each channel."""

import os
import select
import socket
import threading
from contextlib import suppress
from typing import Any

from .alarms import Alarms
from .channel import Channel
from .opened import Opened
from .protocol import receive_packet, send_packet
from .requests import Requests
from .transactions import Handles

# Enough for the deepest recursion of SQLite and of Python, and counted against RLIMIT_DATA.
STACK_BYTES = 4 * 1024**2


class Worker:
    """Runs the statements of one sandbox until the host's end of `control` closes."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._waking, self._wakes = socket.socketpair()
        self._wakes.setblocking(False)
        self._alarms = Alarms(self._wake)
        self._opened = Opened()
        self._requests = Requests(self._opened, Handles(self._alarms, self._notify))
        self._channels: dict[int, Channel] = {}

    def run(self) -> None:
        """Serves. Returns when the host lets go."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._waking, select.POLLIN)
        while True:
            left = self._alarms.ring()
            ready = poll.poll(None if left is None else int(left * 1000) + 1)
            for descriptor, _ in ready:
                if descriptor == self._waking.fileno():
                    self._waking.recv(4096)
                    continue
                packet = receive_packet(self._control)
                if packet is None:
                    return
                fields, descriptors = packet
                if "end" in fields:
                    self._opened.close_all()
                    return
                self._obey(fields, descriptors)

    def _obey(self, fields: dict[str, Any], descriptors: list[int]) -> None:
        if "channel" in fields:
            sock = socket.socket(fileno=descriptors[0])
            channel = Channel(sock, self._requests, self._alarms)
            self._channels[fields["channel"]] = channel
            threading.Thread(target=channel.run, daemon=True).start()
        elif "cancel" in fields:
            channel = self._channels[fields["cancel"]]
            number = fields["number"]
            # It may wait for a server.
            threading.Thread(target=channel.cancel, args=(number,), daemon=True).start()

    def _notify(self, transaction_id: str, reason: str) -> None:
        with suppress(OSError):
            send_packet(self._control, {"ended": transaction_id, "reason": reason})

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            self._wakes.send(b"\0")


def work(control: socket.socket) -> None:
    """Is a worker; ends the process."""
    threading.stack_size(STACK_BYTES)
    try:
        Worker(control).run()
    finally:
        os._exit(0)
