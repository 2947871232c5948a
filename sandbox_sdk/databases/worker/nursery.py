"""The host's end of the zygote: starts it, asks it for workers, and sees that it ends."""

import asyncio
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from tool_plugins.errors import EngineError

from .protocol import FrameError, control_pair, receive_packet, send_packet

PROGRAM = Path(__file__).with_name("__main__.py")
ANSWER_S = 60.0
END_S = 5.0
# What a Python may need to start. Nothing else of this process's environment goes further.
KEPT_VARIABLES = ("LD_LIBRARY_PATH", "PYTHONHOME", "SYSTEMROOT")

logger = logging.getLogger(__name__)


class Nursery:
    """One zygote. After `lost` it is of no more use."""

    def __init__(self, control: socket.socket, process: subprocess.Popen[bytes]) -> None:
        self.lost = False
        self._control = control
        self._process = process
        self._turn = asyncio.Lock()
        self._answer: asyncio.Future[dict[str, Any]] | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(control.fileno(), self._read)

    @classmethod
    async def start(cls, preload: Sequence[str]) -> Self:
        """Starts a zygote that has loaded those modules; without them if they start threads.

        Raises:
            EngineError: it cannot be started.
        """
        nursery = cls._launch()
        try:
            if not preload:
                return nursery
            answer = await nursery._ask({"preload": list(preload)})
            for module, problem in answer["preloaded"].items():
                if problem:
                    logger.warning("%s could not be loaded ahead: %s", module, problem)
            if answer["threads"] == 1:
                return nursery
        except BaseException:
            await nursery.aclose()
            raise
        # A fork copies one thread, and the locks the others held for ever.
        logger.warning("workers load %s themselves: it starts threads", ", ".join(preload))
        await nursery.aclose()
        return cls._launch()

    async def fork(self, name: str, control: socket.socket) -> int:
        """Forks a worker that has that end of a control socket. Answers its process id.

        Raises:
            EngineError: there is no process left for it, or the zygote is lost.
        """
        answer = await self._ask({"fork": name}, control.fileno())
        if answer["forked"] is None:
            raise EngineError(f"no process for a database worker: {answer['error']}")
        return answer["forked"]

    def kill(self, pid: int) -> None:
        """Kills a worker, if it is still there. Those of a lost zygote are dead already."""
        if not self.lost:
            with suppress(OSError):
                send_packet(self._control, {"kill": pid})

    async def aclose(self) -> None:
        """Ends the zygote, and with it every worker. Idempotent."""
        self._lose()
        try:
            await asyncio.to_thread(self._process.wait, END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)

    @classmethod
    def _launch(cls) -> Self:
        ours, theirs = control_pair()
        ours.setblocking(False)
        command = [sys.executable, "-P", str(PROGRAM), str(theirs.fileno())]
        with theirs:
            try:
                # A session of its own: the terminal's Ctrl-C is for the host, which then ends it.
                process = subprocess.Popen(  # noqa: S603
                    command,
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                    cwd="/",
                )
            except OSError as exc:
                ours.close()
                raise EngineError(f"the database workers cannot be started: {exc}") from exc
        return cls(ours, process)

    async def _ask(self, fields: dict[str, Any], *descriptors: int) -> dict[str, Any]:
        async with self._turn:
            if self.lost:
                raise EngineError("the database workers ended")
            self._answer = self._loop.create_future()
            try:
                send_packet(self._control, fields, *descriptors)
                async with asyncio.timeout(ANSWER_S):
                    return await self._answer
            except (TimeoutError, OSError) as exc:
                self._lose()
                raise EngineError(f"the database workers do not answer: {exc}") from exc
            except asyncio.CancelledError:
                # Its answer must not be taken for the next one's.
                self._lose()
                raise
            finally:
                self._answer = None

    def _read(self) -> None:
        try:
            packet = receive_packet(self._control)
        except BlockingIOError:
            return
        except (FrameError, OSError) as exc:
            logger.warning("the zygote of the database workers: %s", exc)
            packet = None
        if packet is None:
            self._lose()
        elif "ended" in packet[0]:
            logger.debug("database worker %(ended)s ended with %(status)s", packet[0])
        elif self._answer is not None and not self._answer.done():
            self._answer.set_result(packet[0])

    def _lose(self) -> None:
        if self.lost:
            return
        self.lost = True
        self._loop.remove_reader(self._control.fileno())
        self._control.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(EngineError("the database workers ended"))


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return kept | {
        "PYTHONPATH": os.pathsep.join(os.path.abspath(each) for each in sys.path),
        "PYTHONUTF8": "1",
        # One thread: what has more cannot be forked.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
