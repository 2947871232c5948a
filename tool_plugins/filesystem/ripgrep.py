"""Runs ripgrep as the agent's user, time-boxed, and reads its output in bounded memory."""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tool_plugins.context import Host
from tool_plugins.errors import ErrorCode, ToolError

CHUNK_BYTES = 64 * 1024
MAX_ERROR_BYTES = 8 * 1024
# The kernel's OOM killer takes a search before the action server.
OOM_SCORE = "900"


class Ripgrep:
    """One run. `run` blocks in a worker thread; `stop` may be called from any other."""

    def __init__(self, host: Host, arguments: list[str], place: int, *, is_folder: bool) -> None:
        self._host = host
        self._command = [_program(host), *arguments]
        self._place = place
        self._is_folder = is_folder
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._errors = b""

    def run(self, feed: Callable[[bytes], bool], timeout_s: float) -> int:
        """Feeds the output until it ends or `feed` wants no more; the exit code.

        The process is gone when this returns or raises. A search that was not needed to its end
        counts as exit code 0.

        Raises:
            ToolError: TIMEOUT.
        """
        deadline = time.monotonic() + timeout_s
        process = self._spawn()
        try:
            if self._pump(process, feed, deadline):
                return process.wait(max(0.1, deadline - time.monotonic()))
            return 0
        except (subprocess.TimeoutExpired, TimeoutError):
            raise _timeout(timeout_s) from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.communicate()

    def stop(self) -> None:
        """Makes `run` kill the process and return."""
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Releases the wake-up descriptor, after `run` has returned."""
        os.close(self._wake)

    @property
    def errors(self) -> str:
        """What ripgrep complained about."""
        return self._errors.decode(errors="replace").strip()

    def _spawn(self) -> subprocess.Popen[bytes]:
        identity = self._host.identity
        process = subprocess.Popen(  # noqa: S603  (a list of arguments, no shell)
            self._command,
            stdin=subprocess.DEVNULL if self._is_folder else self._place,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            # The descriptor, not the path: whatever the path names by now, this is what was opened.
            cwd=f"/proc/self/fd/{self._place}" if self._is_folder else "/",
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},
            start_new_session=True,
            user=identity.uid if identity else None,
            group=identity.gid if identity else None,
            extra_groups=[] if identity else None,
        )
        with contextlib.suppress(OSError):
            Path(f"/proc/{process.pid}/oom_score_adj").write_text(OOM_SCORE)
        return process

    def _pump(
        self, process: subprocess.Popen[bytes], feed: Callable[[bytes], bool], deadline: float
    ) -> bool:
        """Reads both pipes; False if it was stopped before their end."""
        assert process.stdout is not None
        assert process.stderr is not None
        out, err = process.stdout.fileno(), process.stderr.fileno()
        poll = select.poll()
        for fd in (out, err, self._wake):
            poll.register(fd, select.POLLIN)
        open_pipes = 2
        while open_pipes:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            for fd, _ in poll.poll(left * 1000):
                if fd == self._wake:
                    return False
                chunk = os.read(fd, CHUNK_BYTES)
                if not chunk:
                    poll.unregister(fd)
                    open_pipes -= 1
                elif fd == err:
                    self._errors = (self._errors + chunk)[:MAX_ERROR_BYTES]
                elif not feed(chunk):
                    return False
        return True


def _timeout(timeout_s: float) -> ToolError:
    return ToolError(
        ErrorCode.TIMEOUT,
        f"the search took longer than {timeout_s:g} s and was ended",
        hint="search a smaller folder with path, fewer files with glob, or a simpler pattern",
    )


def _program(host: Host) -> str:
    """ripgrep on the server's path, or where pip puts it beside the interpreter."""
    path = host.environment.get("PATH") or os.environ.get("PATH") or os.defpath
    found = shutil.which("rg", path=path) or shutil.which(
        "rg", path=str(Path(sys.executable).parent)
    )
    if found is None:
        raise ToolError(
            ErrorCode.UNSUPPORTED,
            "ripgrep (rg) is not installed where the tools run",
            hint="install ripgrep, for example with `pip install ripgrep`",
        )
    return found
