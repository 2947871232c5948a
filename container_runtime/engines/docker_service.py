"""Service containers on a Docker Engine: each with a network of its own and limited data.

Like the adapter of sandboxes it never runs `exec` and never believes the engine: a warning, or a
field kept otherwise than asked, is a refusal.
"""

import asyncio
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from container_runtime.service import ServiceAddress, ServiceContainers, ServiceInfo, ServiceSpec
from container_runtime.workspace import Workspaces, release
from tool_plugins.errors import EngineError, ImageError

from .docker_client import (
    NOT_FOUND,
    DockerClient,
    EngineRefusal,
    remove_container,
    succeeded,
)
from .docker_config import differences
from .docker_network import address, make_network, remove_network
from .docker_service_config import (
    DATA_LABEL,
    SERVICE_LABEL,
    ServiceReach,
    service_body,
    service_info,
    service_port,
)

PULL_TIMEOUT_S = 1800.0
PULL_SILENCE_S = 60.0
ARCHIVE_TIMEOUT_S = 600.0
CHUNK_BYTES = 2**20
MAX_LINE = 300


class DockerServices(ServiceContainers):
    """The service containers of the installation whose state folder is `state`.

    `unavailable` says why data cannot be limited on this host; empty when it can.
    """

    def __init__(
        self,
        client: DockerClient,
        *,
        state: Path,
        workspaces: Workspaces,
        unavailable: str,
        local: bool,
        apparmor: bool,
    ) -> None:
        self._client = client
        self._state = state
        self._workspaces = workspaces
        self._unavailable = unavailable
        self._reach: ServiceReach = "bridge" if local else "published"
        self._apparmor = apparmor

    async def image_id(self, image: str) -> str:
        try:
            return await self._image_id(image)
        except EngineRefusal as refusal:
            if refusal.status != NOT_FOUND:
                raise
        if failure := await self._pull(image):
            raise ImageError(
                f"the engine has no image {image!r} and cannot pull it: {failure}",
                hint="pull or build the image, or name another one",
            )
        return await self._image_id(image)

    async def _image_id(self, image: str) -> str:
        return (await self._client.run(lambda api: api.inspect_image(image)))["Id"]

    async def _pull(self, image: str) -> str:
        name, _, tag = image.rpartition(":") if ":" in image.rpartition("/")[2] else (image, "", "")

        def pull(api: Any) -> str:
            for event in api.pull(name, tag=tag or "latest", stream=True, decode=True):
                if "error" in event:
                    return str(event["error"])
            return ""

        try:
            return await self._client.run_long(
                pull, timeout_s=PULL_TIMEOUT_S, silence_s=PULL_SILENCE_S
            )
        except EngineError as error:
            return error.message

    async def create(self, spec: ServiceSpec) -> None:
        # As with sandboxes: a request on its way cannot be called back, so it is undone after.
        work = asyncio.ensure_future(self._build(spec))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            if await succeeded(work):
                await asyncio.shield(self.remove(spec.name))
            raise

    async def _build(self, spec: ServiceSpec) -> None:
        if await self._inspect(spec.name) is not None:
            raise EngineError(f"a container named {spec.name!r} exists already")
        try:
            data = await self._mount(spec)
            await self._make(spec, data)
        except BaseException:
            with suppress(EngineError):
                await self.remove(spec.name)
            raise

    async def _mount(self, spec: ServiceSpec) -> Path | None:
        if self._unavailable:
            return None
        image, data = self._files(spec.name)
        await asyncio.to_thread(image.parent.mkdir, mode=0o700, parents=True)
        owner = int(spec.user.partition(":")[0])
        try:
            await self._workspaces.mount(image, data, size_mb=spec.data_mb, owner=owner)
        except OSError as error:
            raise EngineError(f"the data folder cannot be made: {error}") from error
        return data

    async def _make(self, spec: ServiceSpec, data: Path | None) -> None:
        state, internal = str(self._state), self._reach == "bridge"
        body = service_body(
            spec, state=state, reach=self._reach, data=data, apparmor=self._apparmor
        )

        def work(api: Any) -> list[str]:
            make_network(api, spec.name, state, internal=internal)
            reply = api.create_container_from_config(body, name=spec.name)
            kept = api.inspect_container(reply["Id"])
            return [*(reply.get("Warnings") or ()), *(text for _, text in differences(body, kept))]

        if wrong := await self._client.run(work):
            raise EngineError(f"the engine did not keep to what was asked: {'; '.join(wrong)}")

    async def start(self, name: str) -> ServiceAddress:
        record = await self._own(name)
        data = record["Config"]["Labels"].get(DATA_LABEL)
        if data is not None and not await asyncio.to_thread(os.path.ismount, data):
            raise EngineError(
                f"the data of {name!r} is not mounted any more",
                hint="this machine was restarted: remove the container, its data is lost",
            )

        def work(api: Any) -> dict[str, Any]:
            api.start(name)
            return api.inspect_container(name)

        record = await self._client.run(work)
        if not record["State"]["Running"]:
            said = await self.last_words(name, lines=5)
            raise EngineError(f"container {name!r} ended at once: {said}")
        port, reach = service_port(record)
        return ServiceAddress(*address(record, reach, "127.0.0.1", port=port))

    async def stop(self, name: str, *, timeout_s: float) -> None:
        def work(api: Any) -> None:
            api.stop(name, timeout=int(timeout_s))

        await self._own(name)
        await self._client.run_long(work, timeout_s=timeout_s + 60, silence_s=timeout_s + 30)

    async def get(self, name: str) -> ServiceInfo | None:
        record = await self._inspect(name)
        return service_info(record) if record is not None and self._ours(record) else None

    async def list(self, labels: dict[str, str]) -> list[ServiceInfo]:
        wanted = [f"{SERVICE_LABEL}={self._state}", *(f"{k}={v}" for k, v in labels.items())]
        rows = await self._client.run(
            lambda api: api.containers(all=True, filters={"label": wanted})
        )
        found = [await self.get(row["Names"][0].removeprefix("/")) for row in rows if row["Names"]]
        return [info for info in found if info is not None]

    async def put(self, name: str, folder: str, archive: Path) -> None:
        def work(api: Any) -> None:
            with archive.open("rb") as stream:
                if not api.put_archive(name, folder, stream):
                    raise EngineError(f"the engine did not take the archive for {name!r}")

        await self._own(name)
        await self._client.run_long(work, timeout_s=ARCHIVE_TIMEOUT_S, silence_s=ARCHIVE_TIMEOUT_S)

    async def fetch(self, name: str, folder: str, archive: Path) -> None:
        def work(api: Any) -> None:
            chunks, _ = api.get_archive(name, folder, chunk_size=CHUNK_BYTES)
            _write(archive, chunks)

        await self._own(name)
        await self._client.run_long(work, timeout_s=ARCHIVE_TIMEOUT_S, silence_s=ARCHIVE_TIMEOUT_S)

    async def last_words(self, name: str, *, lines: int) -> str:
        said = await self._client.run(lambda api: api.logs(name, tail=lines))
        shown = [line.strip()[:MAX_LINE] for line in said.decode(errors="replace").splitlines()]
        return " | ".join(line.encode("unicode_escape").decode() for line in shown if line)

    async def remove(self, name: str) -> None:
        record = await self._inspect(name)
        if record is not None:
            if not self._ours(record):
                raise EngineError(
                    f"container {name!r} belongs to somebody else",
                    hint="remove it by hand if nobody needs it",
                )
            await remove_container(self._client, record["Id"])
        await self._client.run(lambda api: remove_network(api, name, str(self._state)))
        await asyncio.to_thread(_release, *self._files(name))

    async def _own(self, name: str) -> dict[str, Any]:
        record = await self._inspect(name)
        if record is None or not self._ours(record):
            raise EngineError(f"there is no service container {name!r} of this installation")
        return record

    def _ours(self, record: dict[str, Any]) -> bool:
        return record["Config"]["Labels"].get(SERVICE_LABEL) == str(self._state)

    async def _inspect(self, name: str) -> dict[str, Any] | None:
        try:
            return await self._client.run(lambda api: api.inspect_container(name))
        except EngineRefusal as refusal:
            if refusal.status == NOT_FOUND:
                return None
            raise

    def _files(self, name: str) -> tuple[Path, Path]:
        """The file that holds the data, and where it is mounted."""
        folder = self._state / "services" / name
        return folder / "data.img", folder / "data"


def _write(archive: Path, chunks: Iterable[bytes]) -> None:
    with archive.open("wb") as file:
        archive.chmod(0o600)
        for chunk in chunks:
            file.write(chunk)


def _release(image: Path, data: Path) -> None:
    release(image, data)
    with suppress(FileNotFoundError):
        image.parent.rmdir()
