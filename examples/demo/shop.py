"""The shop's database: PostgreSQL started for the demo where there is one, else an SQLite file."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from examples.databases.postgres import PostgresServer, find_binaries

DATA = Path(__file__).resolve().parent.parent / "databases" / "shop"
URL_VARIABLE = "SHOP_URL"

SALE: list[dict[str, Any]] = [
    {"query": "UPDATE products SET stock = stock - $1 WHERE name = $2", "params": [1, "Teapot"]},
    {"query": "INSERT INTO orders VALUES (11, 1, 1, 1, '2025-03-20', 'open')"},
]
STATE_OF_SALE = "SELECT stock, (SELECT count(*) FROM orders) FROM products WHERE name = 'Teapot'"
BEFORE, AFTER = [12, 10], [11, 11]


@dataclass(frozen=True, slots=True)
class Shop:
    """Where it is. `reason` says why it is not in PostgreSQL; `url` is the operator's.

    `folder` is for whoever works with it, and goes with the shop.
    """

    folder: Path
    url: str | None
    reason: str = ""

    @property
    def engine(self) -> str:
        """As `Database.engine` names it."""
        return "sqlite" if self.url is None else "postgres"

    @property
    def variables(self) -> dict[str, str]:
        """What its servers find in their environment: what the access files ask for, and a state
        that they share with nobody else."""
        state = {"SANDBOX_STATE_DIR": str(self.folder / "state")}
        return state if self.url is None else {**state, URL_VARIABLE: self.url}

    def arguments(self, name: str) -> tuple[str, ...]:
        """The arguments of a server whose sandboxes have that access: "reader" or "writer"."""
        population = str(DATA / "population.yaml")
        access = str(self.access_file(name))
        return ("--database-access", access, "--database-population", population)

    def access_file(self, name: str) -> Path:
        """What the operator says that a reader or a writer may do."""
        access = DATA / f"{name}.yaml"
        return access if self.url else self._for_sqlite(access)

    def _for_sqlite(self, access: Path) -> Path:
        """The same rules for the file; SQLite knows no conditions on rows."""
        text = access.read_text("utf-8").replace("engine: postgres", "engine: sqlite")
        text = text.replace("url: ${SHOP_URL}", f"path: {self.folder / 'shop.db'}")
        copy = self.folder / access.name
        copy.write_text(text.replace(""", rows: "city = 'Lyon'"}""", "}"), "utf-8")
        return copy

    def ask(self, query: str) -> Any:
        """One value, as the operator sees it on the server."""
        with psycopg.connect(self.url or "", autocommit=True) as connection:
            row = connection.execute(query).fetchone()  # pyright: ignore
        return row[0] if row else None


@contextmanager
def opened() -> Iterator[Shop]:
    """The place of a shop, gone afterwards; who comes first makes its database."""
    folder = Path(tempfile.mkdtemp(prefix="shop-", dir="/tmp"))
    folder.chmod(0o755)  # the server may run as a user of its own
    server = _start(folder / "server")
    try:
        if isinstance(server, str):
            yield Shop(folder, None, reason=server)
            return
        yield Shop(folder, server.url_of("shop"))
    finally:
        if isinstance(server, PostgresServer):
            server.stop(mode="immediate")
        shutil.rmtree(folder)


def _start(folder: Path) -> PostgresServer | str:
    """A server that runs, or why there is none."""
    if find_binaries() is None:
        return "no PostgreSQL server is installed"
    try:
        return PostgresServer(folder).create().start()
    except (OSError, RuntimeError) as error:
        return f"PostgreSQL does not start: {error}"
