"""The operator's side of a Qdrant database. Never loads qdrant's client, never runs a search.

Without `url` a copy is a file that the sandbox's worker reads into qdrant's embedded engine, which
knows no users: there the driver itself holds the permission. It can, because a model reaches it
only through three typed operations on named collections, none of which carries a language.

With `url` a copy is collections of its own on a server, and the principal a token that opens
those and nothing else; the server refuses everything beyond it.
"""

import asyncio
import json
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from sandbox_sdk.databases.access import Access, Database
from sandbox_sdk.databases.population.contents import Population
from sandbox_sdk.databases.provisioner import Copy, Place, Provisioner
from tool_plugins.errors import ConfigurationError, EngineError

from .rest import Server
from .rules import Right, check_database, rights
from .server import QdrantServer, full_name
from .storage import Storage
from .template import build_template
from .tokens import MIN_KEY_BYTES, sign

DRIVER = "sandbox_sdk.databases.qdrant.driver:QdrantDriver"
COPY_FILE = "points.sqlite"
SEEDED_FILE = "seeded.json"
"""In the folder of a copy: its collections, once all of them are filled. Neither a file nor a
collection on a server tells whether all its points had come."""
T = TypeVar("T")


class QdrantProvisioner(Provisioner):
    """Copies and tokens of one configured Qdrant database."""

    def __init__(self, database: Database, population: Population | None, place: Place) -> None:
        super().__init__(database, population, place)
        self._template: Path | None = None
        self._server: QdrantServer | None = None
        self._tokens = False
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @classmethod
    def check(cls, database: Database) -> None:
        """See `Provisioner.check` and `rules`."""
        check_database(database)

    async def open(self) -> None:
        """See `Provisioner.open`. A copy's collections are those of the population alone."""
        name = self.database.name
        if self.database.isolation == "shared" and self.population is not None:
            raise ConfigurationError(
                f"database {name!r} is shared: the server has its data already",
                hint="take it out of the initial population, or use isolation='copy'",
            )
        if self.population is not None:
            self._template = await asyncio.to_thread(
                build_template, self.population, self.place.folder / "templates", self.place.report
            )
        elif self.database.isolation == "copy":
            self.place.report(f"{name}: no population names collections, so copies have none")
        if self.database.url is not None:
            await asyncio.to_thread(self._open_server)
        try:
            known = await asyncio.to_thread(self._known)
            rights(self.database.access, known, database=name)
        except BaseException:
            await self.aclose()
            raise

    async def create(self, sandbox_id: str, access: Access) -> Copy:
        """See `Provisioner.create`."""
        async with self._locks.setdefault(sandbox_id, asyncio.Lock()):
            return await _in_thread(lambda stop: self._create(sandbox_id, access, stop))

    async def drop(self, sandbox_id: str) -> None:
        """See `Provisioner.drop`. A token that is left opens collections that are gone."""
        async with self._locks.setdefault(sandbox_id, asyncio.Lock()):
            if self._server is not None and self.database.isolation == "copy":
                prefix = full_name(sandbox_id, self.database.name, "")
                await asyncio.to_thread(self._server.drop, prefix)
            folder = self.place.copy_folder(sandbox_id, self.database.name)
            await asyncio.to_thread(_remove, folder)

    async def terminate(self, sandbox_id: str) -> None:
        """Nothing to do: embedded, the worker is the engine; a server ends a request by itself at
        the `timeout` each one carries."""

    async def copies(self) -> set[str]:
        """See `Provisioner.copies`. Files lie in `place`, where the broker sees them itself."""
        if self._server is None or self.database.isolation == "shared":
            return set()
        return await asyncio.to_thread(self._server.sandboxes, self.database.name)

    async def aclose(self) -> None:
        """See `Provisioner.aclose`."""
        server, self._server = self._server, None
        if server is not None:
            await asyncio.to_thread(server.close)

    def _open_server(self) -> None:
        key = self._key()
        server = QdrantServer(self._address(key))
        try:
            server.collections()
            self._tokens = server.holds_tokens()
            if not self._tokens:
                self._accept_without_tokens(server)
        except BaseException:
            server.close()
            raise
        self._server = server
        if key is not None and self._tokens and len(key.encode()) < MIN_KEY_BYTES:
            self.place.report(
                f"{self.database.name}: api_key is shorter than {MIN_KEY_BYTES} bytes, which is "
                "little for a secret that tokens are signed with"
            )

    def _accept_without_tokens(self, server: QdrantServer) -> None:
        """A server without tokens will do if it was asked for, and no key would have to be given
        to the worker."""
        name = self.database.name
        if self.database.enforcement == "required":
            raise ConfigurationError(
                f"database {name!r}: the server does not hold a token to its collections",
                hint="set service.jwt_rbac and service.api_key on it "
                "(QDRANT__SERVICE__JWT_RBAC=true)",
            )
        if not server.is_open():
            raise ConfigurationError(
                f"database {name!r}: the server wants a key and takes no tokens, so the "
                "operator's key would have to leave this process",
                hint="set service.jwt_rbac on it (QDRANT__SERVICE__JWT_RBAC=true)",
            )
        self.place.report(f"{name}: the server has no permissions; only the SDK's tools hold them")

    def _known(self) -> list[str]:
        """The collections that rules may name."""
        if self.database.isolation == "shared":
            return self._server.collections() if self._server is not None else []
        if self._template is None:
            return []
        with closing(Storage(self._template)) as template:
            return list(template.layouts)

    def _create(self, sandbox_id: str, access: Access, stop: threading.Event) -> Copy:
        if self.database.isolation == "shared":
            granted = rights(access, self._known(), database=self.database.name)
            return Copy(DRIVER, self._settings(sandbox_id, "", granted))
        folder = self.place.copy_folder(sandbox_id, self.database.name)
        marker = folder / SEEDED_FILE
        seeded: list[str] | None = json.loads(marker.read_text()) if marker.exists() else None
        known = self._known() if seeded is None else seeded
        # Before anything is made: a rule for a collection that is not there leaves nothing.
        granted = rights(access, known, database=self.database.name)
        prefix = full_name(sandbox_id, self.database.name, "")
        if seeded is None:
            self._seed(folder, prefix, stop)
            _write(marker, json.dumps(known))
        elif self._server is not None:
            _check_there(self._server, sandbox_id, prefix, seeded)
        return Copy(DRIVER, self._settings(sandbox_id, prefix, granted))

    def _seed(self, folder: Path, prefix: str, stop: threading.Event) -> None:
        """Makes the copy; what an interrupted attempt has left is replaced."""
        _remove(folder)
        folder.mkdir(mode=0o700, parents=True)
        try:
            if self._server is None:
                self._copy_file(folder / COPY_FILE)
            elif self._template is not None:
                with closing(Storage(self._template)) as template:
                    self._server.seed(prefix, template, stop)
        except BaseException:
            _remove(folder)
            raise

    def _copy_file(self, file: Path) -> None:
        if self._template is None:
            Storage.create(file, {}).close()
        else:
            shutil.copyfile(self._template, file)
        file.chmod(0o600)

    def _settings(self, sandbox_id: str, prefix: str, granted: dict[str, Right]) -> dict[str, Any]:
        """What the worker gets: the token, never the key that signs it."""
        settings: dict[str, Any] = {"database": self.database.name, "collections": granted}
        if self._server is None:
            file = self.place.copy_folder(sandbox_id, self.database.name) / COPY_FILE
            return settings | {"file": str(file), "size_mb": self.database.limits.size_mb}
        address = asdict(self._address(None))
        del address["key"]
        token = expires = None
        key = self._key()
        if self._tokens and key is not None:
            named: dict[str, Right] = {prefix + name: right for name, right in granted.items()}
            token, expires = sign(named, key=key, subject=sandbox_id)
        return settings | {
            "prefix": prefix, "token": token, "expires": expires, "server": address,
        }  # fmt: skip

    def _key(self) -> str | None:
        return self.database.api_key.get_secret_value() if self.database.api_key else None

    def _address(self, key: str | None) -> Server:
        database = self.database
        return Server(
            url=database.url.get_secret_value() if database.url else "",
            key=key,
            ca_file=str(database.ca_file) if database.ca_file else None,
            pool_size=database.pool.pool_size,
            max_overflow=database.pool.max_overflow,
            pool_timeout=database.pool.pool_timeout,
            pool_recycle=database.pool.pool_recycle,
            connection_timeout=database.pool.connection_timeout,
        )


async def _in_thread(work: Callable[[threading.Event], T]) -> T:
    """Runs `work` in a thread. If the caller is cancelled, tells it to stop and waits until it
    has cleaned up: a thread left behind would go on making what is about to be dropped."""
    stop = threading.Event()
    task = asyncio.ensure_future(asyncio.to_thread(work, stop))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen: whoever waited for it is gone
        raise


def _check_there(server: QdrantServer, sandbox_id: str, prefix: str, seeded: list[str]) -> None:
    there = set(server.collections())
    if lost := [name for name in seeded if prefix + name not in there]:
        raise EngineError(
            f"collection {lost[0]!r} of {sandbox_id} is gone from the server",
            hint="reset the database",
        )


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}")
    unfinished.write_text(text)
    os.replace(unfinished, file)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
