"""The seeded store, kept once as a tar file: what every copy starts with.

It holds the files of the database and its transactions, as they lie in the image's data folder.
Users are not in it, so every copy gets its own.
"""

import asyncio
import secrets
import tarfile
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox_sdk.databases.population.building import build_once
from sandbox_sdk.databases.population.contents import Population

from .admin import Admin
from .instance import DATA, SEED_DATA_MB, TEMPLATE_LABEL, seed_spec
from .instances import Instances, fresh_password
from .seed import Seeding
from .url import DATABASE

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT = (f"databases/{DATABASE}", f"transactions/{DATABASE}")


class Template:
    """The template of one population on one image, in `folder`."""

    def __init__(
        self,
        population: Population,
        *,
        image: str,
        folder: Path,
        instances: Instances,
        report: "Callable[[str], None]",
    ) -> None:
        self._population = population
        self._image = image
        self._instances = instances
        self._report = report
        self._key = f"{population.digest[:24]}-{image.removeprefix('sha256:')[:12]}"
        self.path = folder / f"neo4j-{self._key}.tar"

    async def ensure(self) -> None:
        """Builds the template unless it is there. One process builds, others wait.

        Raises:
            PopulationError: the population is bad; nothing is left.
            EngineError: an instance could not be run.
        """
        loop = asyncio.get_running_loop()
        under_way: list[asyncio.Task[None]] = []

        def build(product: Path) -> None:
            async def task() -> None:
                under_way.append(asyncio.ensure_future(self._build(product)))
                await under_way[0]

            asyncio.run_coroutine_threadsafe(task(), loop).result()

        work = asyncio.ensure_future(asyncio.to_thread(build_once, self.path, build))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            for each in under_way:
                each.cancel()
            with suppress(asyncio.CancelledError, CancelledError):
                await work
            raise

    async def _build(self, product: Path) -> None:
        containers = self._instances.containers
        # Nobody else builds this template now: what stands there is of a process that died.
        for stray in await containers.list({TEMPLATE_LABEL: self._key}):
            await containers.remove(stray.name)
        name = f"neo4j-template-{secrets.token_hex(6)}"
        spec = seed_spec(
            name, self._key, image=self._image, password=fresh_password(), data_mb=SEED_DATA_MB
        )
        self._report(f"{self._population.database}: filling a template")
        try:
            await self._instances.create(spec)
            server = await self._instances.start(name)
            await asyncio.to_thread(self._fill, Admin(server))
            await self._instances.stop(name)
            whole = product.with_name("data.tar")
            await containers.fetch(name, f"{DATA}/.", whole)
            await asyncio.to_thread(_keep, whole, product)
        finally:
            await asyncio.shield(containers.remove(name))
        self._report(f"{self._population.database}: the template is ready")

    def _fill(self, admin: Admin) -> None:
        with admin.session() as session:
            Seeding(session, self._population.database, self._report).run(self._population)


def _keep(whole: Path, product: Path) -> None:
    """Copies the members of the database out of a tar of the data folder; paths below it."""
    with (
        tarfile.open(whole, "r|") as source,
        tarfile.open(product, "w", format=tarfile.PAX_FORMAT) as target,
    ):
        product.chmod(0o600)
        for member in source:
            member.name = member.name.removeprefix("./").rstrip("/")
            if member.name.startswith(KEPT) or member.name in ("databases", "transactions"):
                target.addfile(member, source.extractfile(member) if member.isfile() else None)
