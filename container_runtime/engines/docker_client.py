"""The one door to the `docker` package: a bounded executor and translated errors.

Everything here speaks raw engine records; no other module imports `docker` or sees its errors.
Never retries: who calls knows whether a second try is safe.
"""

import asyncio
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

import docker
import requests
from docker.errors import APIError, DockerException
from docker.utils import kwargs_from_env

from tool_plugins.errors import EngineError

Result = TypeVar("Result")

THREADS = 8
CALL_TIMEOUT_S = 60.0
KNOCK_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 5.0
NOT_FOUND = 404
CONFLICT = 409
REMOVE_TIMEOUT_S = 60.0
REMOVE_POLL_S = 0.1

_NOT_RUNNING = (
    "start the Docker Engine (`systemctl start docker`, or Docker Desktop), "
    "or point DOCKER_HOST at one"
)
_NOT_PERMITTED = (
    "this user may not open the engine's socket: `sudo usermod -aG docker $USER`, then log in again"
)


class EngineRefusal(EngineError):
    """The engine answered with an error; `status` is its HTTP status."""

    def __init__(self, message: str, *, status: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class DockerClient:
    """A Docker Engine behind at most `THREADS` concurrent calls.

    `base_url` None follows DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH as the `docker`
    command does.
    """

    def __init__(self, base_url: str | None = None) -> None:
        self._settings: dict[str, Any] = {**kwargs_from_env()}
        if base_url is not None:
            self._settings["base_url"] = base_url
        self._api: docker.APIClient | None = None
        self._pool: ThreadPoolExecutor | None = None

    @property
    def url(self) -> str:
        """Where the engine is looked for, as the user would write it."""
        return self._settings.get("base_url") or "unix:///var/run/docker.sock"

    @property
    def host(self) -> str:
        """The name of the engine's machine, for ports it publishes."""
        return urlsplit(self.url).hostname or "127.0.0.1"

    async def open(self) -> None:
        """Reaches the engine and agrees on an API version. Idempotent.

        Raises:
            EngineError: nobody answers there; the hint says what to run.
        """
        if self._api is not None:
            return
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="docker-client")
        try:
            api = await _bounded(pool, lambda: self._connect(CALL_TIMEOUT_S), CALL_TIMEOUT_S)
        except BaseException:
            pool.shutdown(wait=False)
            raise
        self._pool, self._api = pool, api

    def _connect(self, silence_s: float) -> docker.APIClient:
        with translated(self.url):
            _knock(self.url)
            return docker.APIClient(
                version="auto",
                timeout=int(silence_s),
                num_pools=THREADS,
                max_pool_size=THREADS,
                **self._settings,
            )

    async def run(
        self, work: Callable[[docker.APIClient], Result], *, timeout_s: float = CALL_TIMEOUT_S
    ) -> Result:
        """Runs blocking calls of one piece of work in the executor, under one deadline.

        A cancelled caller does not stop the work: a request on its way cannot be called back.

        Raises:
            EngineRefusal: the engine answered with an error.
            EngineError: it cannot be reached or does not answer in time.
        """
        if self._api is None or self._pool is None:
            raise EngineError("the engine is not connected", hint="use `async with engine`")
        api = self._api

        def guarded() -> Result:
            with translated(self.url):
                return work(api)

        return await _bounded(self._pool, guarded, timeout_s)

    async def run_long(
        self,
        work: Callable[[docker.APIClient], Result],
        *,
        timeout_s: float,
        silence_s: float,
    ) -> Result:
        """Runs work that takes long on a connection of its own, outside the bounded executor.

        The engine may stay silent for `silence_s` at most. Raises as `run` does.
        """

        def guarded() -> Result:
            api = self._connect(silence_s)
            try:
                with translated(self.url):
                    return work(api)
            finally:
                api.close()

        return await _bounded(None, guarded, timeout_s)

    async def aclose(self) -> None:
        """Closes connections and ends the threads. Idempotent."""
        api, pool, self._api, self._pool = self._api, self._pool, None, None
        if pool is not None:
            ending = asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)
            with suppress(TimeoutError):  # a thread that waits for a stuck engine ends by itself
                await asyncio.wait_for(ending, CLOSE_TIMEOUT_S)
        if api is not None:
            api.close()


def _knock(url: str) -> None:
    """Fails as connecting would; the library leaves a socket open when it fails by itself."""
    address = urlsplit(url)
    if address.scheme in ("unix", "http+unix"):
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(KNOCK_TIMEOUT_S)
            caller.connect(address.path)


async def remove_container(client: "DockerClient", identifier: str) -> None:
    """Kills and removes a container with its volumes; waits where somebody else does already."""
    async with asyncio.timeout(REMOVE_TIMEOUT_S):
        while True:
            try:
                await client.run(lambda api: api.remove_container(identifier, v=True, force=True))
            except EngineRefusal as refusal:
                if refusal.status == NOT_FOUND:
                    return
                if refusal.status != CONFLICT:
                    raise
            else:
                return
            await asyncio.sleep(REMOVE_POLL_S)


async def succeeded(work: asyncio.Future[Any]) -> bool:
    """Waits for `work`, however often the caller is cancelled; whether it gave a result."""
    while not work.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([work])
    return not work.cancelled() and work.exception() is None


async def _bounded(
    pool: ThreadPoolExecutor | None, work: Callable[[], Result], timeout_s: float
) -> Result:
    try:
        async with asyncio.timeout(timeout_s):
            return await asyncio.get_running_loop().run_in_executor(pool, work)
    except TimeoutError as error:
        raise EngineError(
            f"the engine did not answer within {timeout_s:g} s", hint="see `docker info`"
        ) from error


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turns every error of `docker` and of the HTTP library below it into `EngineError`."""
    try:
        yield
    except APIError as error:
        status = error.response.status_code if error.response is not None else 0
        raise EngineRefusal(f"the engine refused: {error.explanation}", status=status) from error
    except (DockerException, requests.RequestException, OSError) as error:
        raise EngineError(f"cannot reach {url!r}: {error}", hint=_hint(error)) from error


def _hint(error: BaseException) -> str:
    """What a person can do about it, from the whole chain of causes."""
    link: BaseException | None = error
    text = ""
    while link is not None:
        text += repr(link)
        link = link.__cause__ or link.__context__
    if "PermissionError" in text or "Permission denied" in text:
        return _NOT_PERMITTED
    if "timed out" in text.lower():
        return "the engine is there but does not answer: see `docker info`"
    return _NOT_RUNNING
