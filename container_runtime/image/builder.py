"""The sandbox image, built when its inputs changed and left alone otherwise."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from container_runtime.engines.docker_client import NOT_FOUND, DockerClient, EngineRefusal
from container_runtime.locks import try_lock
from tool_plugins.errors import EngineError, ImageError
from tool_plugins.plugins import Plugin, installed

from . import wheels
from .base import ensure_base
from .build import build, exists
from .inputs import (
    DEFAULT_BASE,
    HERE,
    LABEL,
    Flavour,
    Tree,
    image_tag,
    programs,
    requirements,
    sources,
    unpack,
)

LOCK_TIMEOUT_S = 1800.0
LOCK_POLL_S = 0.5
PRUNE_AGE_S = 3600
"""Younger images stay: another installation on this engine may have just built one."""

Report = Callable[[str], None]


def default_cache() -> Path:
    """The folder of this user for what can be fetched again."""
    # The one setting the XDG convention keeps in the environment.
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sandbox-sdk"


class ImageBuilder:
    """Makes sure of the sandbox image on one engine.

    `image` names a ready-made image that is used as it is; `base` is what is pulled to build on;
    `flavour` says what it holds besides. Plugins are those that are installed at its first use.
    """

    def __init__(
        self,
        client: DockerClient,
        *,
        image: str | None = None,
        base: str = DEFAULT_BASE,
        cache: Path | None = None,
        flavour: Flavour = "default",
    ) -> None:
        self._client = client
        self._image = image
        self._base = base if ":" in base.rpartition("/")[2] else f"{base}:latest"
        self._cache = cache or default_cache()
        self._flavour: Flavour = flavour
        self._plugins: tuple[Plugin, ...] = ()

    async def ensure(self, architecture: str, report: Report) -> str:
        """The name of the image, built first where it is missing.

        Raises:
            ImageError: it cannot be built; the hint says what to do.
            ConfigurationError: a plugin that is installed cannot be taken into it.
        """
        if self._image is not None:
            return await self._given(self._image)
        tag = await asyncio.to_thread(self._tag, architecture)
        if await exists(self._client, tag):
            return tag
        async with self._alone(report):
            if not await exists(self._client, tag):
                await self._build(tag, architecture, report)
                await self._prune(tag)
        return tag

    def _tag(self, architecture: str) -> str:
        if not self._plugins:
            self._plugins = installed()
        return image_tag(self._base, architecture, self._flavour, self._plugins)

    async def _given(self, image: str) -> str:
        try:
            await self._client.run(lambda api: api.inspect_image(image))
        except EngineRefusal as refusal:
            if refusal.status != NOT_FOUND:
                raise
            raise ImageError(
                f"the engine has no image {image!r}",
                hint="leave the image out to have one built, or pull it first",
            ) from refusal
        return image

    async def _build(self, tag: str, architecture: str, report: Report) -> None:
        report(f"building the sandbox image {tag}")
        found, base = await asyncio.gather(
            asyncio.to_thread(
                wheels.fetch,
                requirements(self._flavour),
                architecture,
                self._cache / "wheels",
                report,
            ),
            ensure_base(self._client, self._base, self._flavour, report),
        )
        files = await asyncio.to_thread(_files, found, self._plugins)
        await build(
            self._client, tag, files, arguments={"BASE": base}, network="none", report=report
        )
        report(f"built {tag}")

    async def _prune(self, keep: str) -> None:
        """Removes older images of the same repository; a young one, or one in use, stays."""
        for tag in await self._client.run(_outdated):
            if tag != keep and tag.rpartition(":")[0] == keep.rpartition(":")[0]:
                with suppress(EngineError):  # in use, or another process was quicker
                    await self._client.run(lambda api, tag=tag: api.remove_image(tag))

    @asynccontextmanager
    async def _alone(self, report: Report) -> AsyncIterator[None]:
        """One builder at a time on this machine."""
        self._cache.mkdir(parents=True, exist_ok=True)
        with (self._cache / "image.lock").open("w") as lock:
            waited = False
            async with asyncio.timeout(LOCK_TIMEOUT_S):
                while not try_lock(lock.fileno()):
                    if not waited:
                        report("waiting for another process that builds the image")
                    waited = True
                    await asyncio.sleep(LOCK_POLL_S)
            yield


def _outdated(api: Any) -> list[str]:
    """Tags of our images that were built long enough ago for nobody to be about to use them."""
    listed = api.images(filters={"label": LABEL})
    return [
        tag
        for image in listed
        if image["Created"] < time.time() - PRUNE_AGE_S
        for tag in image["RepoTags"] or ()
    ]


def _files(found: list[Path], plugins: tuple[Plugin, ...]) -> Tree:
    files: Tree = {"Dockerfile": (HERE / "Dockerfile").read_bytes()}
    files |= {f"sandbox/{path}": data for path, data in sources(plugins).items()}
    for wheel in found:
        files |= {f"lib/{path}": data for path, data in unpack(wheel).items()}
        files |= {f"bin/{name}": data for name, data in programs(wheel).items()}
    return files
