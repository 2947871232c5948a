"""A worker's end of the way to the server. Linux.

Several threads may wait at once, for the next call and for answers to what they asked: one of them
reads, for all.
"""

import array
import fcntl
import os
import select
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any, NoReturn, TypeVar

from .wire import MAX_ASKS, MAX_DESCRIPTORS, RECEIVE_BYTES, Frames

WATCHER_STACK_BYTES = 256 * 1024
# Above what a program that closes "all" descriptors, or opens its own, usually means.
LOWEST_CHANNEL_FD = 200
RIGHTS_BYTES = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)

Found = TypeVar("Found")


class Channel:
    """The way to the server. Its end is the end of this process and its process group.

    `asking` is held by each who asks: there is room for so many. A process forked from this one has
    no channel.
    """

    def __init__(self, fd: int) -> None:
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, LOWEST_CHANNEL_FD)
        os.close(fd)
        self._socket = socket.socket(fileno=high)
        self._sending = threading.Lock()
        self._frames = Frames(trusted=True)
        self._descriptors: list[int] = []
        self._calls: deque[dict[str, Any]] = deque()
        # What was asked and not answered yet has None.
        self._answers: dict[int, dict[str, Any] | None] = {}
        self._numbers = count()
        self._news = threading.Condition()
        self._read_by_someone = False
        self.asking = threading.BoundedSemaphore(MAX_ASKS)
        self.forked = False
        os.register_at_fork(after_in_child=self._leave)

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        """Waits for the next call; gives it with the descriptors that came along."""
        message = self._wait(lambda: self._calls.popleft() if self._calls else None)
        # What arrives at once, several messages and the descriptors of one, is not told apart.
        number = message.get("descriptors", 0)
        descriptors, self._descriptors = self._descriptors[:number], self._descriptors[number:]
        return message, descriptors

    def send(self, message: bytes) -> None:
        """Sends a whole message."""
        with self._sending:
            self._socket.sendall(message)

    def open_ask(self) -> int:
        """The number of something to be asked. `close_ask` lets go of it."""
        with self._news:
            number = next(self._numbers)
            self._answers[number] = None
        return number

    def close_ask(self, number: int) -> None:
        """Wants no answer any more."""
        with self._news:
            self._answers.pop(number, None)

    def answer(self, number: int, given_up: Callable[[], bool]) -> dict[str, Any]:
        """Waits for the answer to that ask; {} if it is given up, which `wake` makes it look at."""
        return self._wait(lambda: {} if given_up() else self._answers[number])

    def wake(self) -> None:
        """Lets those who wait look again."""
        with self._news:
            self._news.notify_all()

    def watch(self) -> None:
        """Ends the process group when the server is gone, even in the midst of a call."""
        poll = select.poll()
        poll.register(self._socket, select.POLLRDHUP)
        threading.stack_size(WATCHER_STACK_BYTES)
        threading.Thread(target=_end_after, args=(poll,), daemon=True).start()
        threading.stack_size(0)

    def _wait(self, look: Callable[[], Found | None]) -> Found:
        with self._news:
            while (found := look()) is None:
                if self._read_by_someone:
                    self._news.wait()
                else:
                    self._read()
            return found

    def _read(self) -> None:
        self._read_by_someone = True
        self._news.release()
        messages: list[dict[str, Any]] = []
        try:
            # Not `socket.recv_fds`: it ignores the flag, and children would inherit them all.
            data, ancillary, _, _ = self._socket.recvmsg(
                RECEIVE_BYTES, RIGHTS_BYTES, socket.MSG_CMSG_CLOEXEC
            )
            if not data:
                end_group()
            for _, _, rights in ancillary:
                self._descriptors += array.array("i", rights)
            messages = self._frames.feed(data)
        finally:
            self._news.acquire()
            self._read_by_someone = False
            self._sort(messages)
            self._news.notify_all()

    def _sort(self, messages: list[dict[str, Any]]) -> None:
        for message in messages:
            if "answer" not in message:
                self._calls.append(message)
            elif message["answer"] in self._answers:
                self._answers[message["answer"]] = message

    def _leave(self) -> None:
        self.forked = True
        self._socket.close()


def _end_after(poll: "select.poll") -> None:
    poll.poll()
    end_group()


def end_group() -> NoReturn:
    """Kills this process and those it started, but for those that left its process group."""
    os.killpg(0, signal.SIGKILL)
    os._exit(1)
