"""What an operator says about databases. Host side only; nothing here acts.

DatabaseAccess(databases=[
    Database(name="notes", engine="sqlite", access="write"),
    Database(
        name="shop", engine="postgres", url="postgresql://admin@db.example/postgres",
        access=Access(tables={"users": TableAccess(select=("id", "name"), rows="id < 100")}),
    ),
])
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator

from tool_plugins.contract import Value
from tool_plugins.errors import ConfigurationError

EngineName = Literal["sqlite", "postgres", "qdrant", "neo4j"]
Isolation = Literal["copy", "shared"]
Level = Literal["none", "read", "write", "owner"]
Verb = Literal["select", "insert", "update", "delete"]
VERBS: tuple[Verb, ...] = ("select", "insert", "update", "delete")
NEO4J_IMAGE = "neo4j:5.26-community"


def _columns(given: Any) -> Any:
    """`"*"` is every column, as in SQL."""
    return True if given == "*" else given


Columns = Annotated[bool | tuple[str, ...], BeforeValidator(_columns)]
"""True (or `"*"`): every column; a list: these; False: none."""


class TableAccess(Value):
    """What may be done with one table, or Qdrant collection.

    `rows` is a condition in the engine's own language over the table's columns, fixed by the
    operator: other rows are not seen, not changed, and cannot be written.
    """

    select: Columns = False
    insert: Columns = False
    update: Columns = False
    delete: bool = False
    rows: Annotated[str, Field(min_length=1, max_length=10_000)] | None = None

    def columns(self, verb: Verb) -> bool | tuple[str, ...]:
        """The columns a verb may name."""
        return getattr(self, verb)


READ = TableAccess(select=True)
WRITE = TableAccess(select=True, insert=True, update=True, delete=True)
LEVELS: dict[str, TableAccess] = {
    "none": TableAccess(),
    "read": READ,
    "write": WRITE,
    "owner": WRITE,
}


class Access(Value):
    """Rules from the general to the particular: `default`, then `schemas`, then `tables`.

    "read" is select, "write" all four verbs. "owner" may also create, alter and drop tables; it is
    possible only as `default`, in a copy, and without further rules. Table names may carry a
    schema: "sales.orders".
    """

    default: Level = "none"
    schemas: dict[str, Literal["none", "read", "write"]] = Field(default_factory=dict)
    tables: dict[str, TableAccess | Literal["none", "read", "write"]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_owner(self) -> "Access":
        if self.default == "owner" and (self.schemas or self.tables):
            raise ValueError("an owner has every right; leave schemas and tables out")
        return self

    @property
    def writable(self) -> bool:
        """Whether anything at all may be written."""
        if self.default in ("write", "owner") or "write" in self.schemas.values():
            return True
        rules = (self.rule(name) for name in self.tables)
        return any(rule.insert or rule.update or rule.delete for rule in rules)

    def rule(self, table: str, *, schema: str | None = None) -> TableAccess:
        """What holds for a table; `table` as it is written in `tables`, or without its schema."""
        named = [f"{schema}.{table}", table] if schema else [table]
        for name in named:
            if name in self.tables:
                given = self.tables[name]
                return given if isinstance(given, TableAccess) else LEVELS[given]
        return LEVELS[self.schemas.get(schema or "", self.default)]


NOTHING = Access.model_construct(default="none", schemas={}, tables={})


def _access(given: Any) -> Any:
    return {"default": given} if isinstance(given, str) else given


class DatabaseLimits(Value):
    """Caps of one call and of one copy.

    `rows`, `bytes` (of JSON; the default is what MCP clients are shown whole) and `cell_chars` cap
    what a call returns; `timeout_s` what it may take; `transaction_s` how long a transaction may
    stay open in all. `temp_mb` caps temporary files of one PostgreSQL session, `size_mb` the copy
    of an engine that runs on this host.
    """

    rows: Annotated[int, Field(ge=1, le=100_000)] = 1000
    bytes: Annotated[int, Field(ge=1000, le=8_000_000)] = 100_000
    cell_chars: Annotated[int, Field(ge=100, le=1_000_000)] = 2000
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 15.0
    transaction_s: Annotated[float, Field(gt=0, le=3600)] = 300.0
    temp_mb: Annotated[int, Field(ge=1)] = 256
    size_mb: Annotated[int, Field(ge=1)] = 512


class ConnectionPool(Value):
    """Connections of one sandbox to one database. Times are seconds.

    `pool_size` are kept, `max_overflow` more are opened at need, a caller waits `pool_timeout` for
    one, and one older than `pool_recycle` is replaced. `max_connections` is held by the server
    where it can (PostgreSQL's CONNECTION LIMIT); None is what the pool and the sandbox's own
    programs may need. `connection_timeout` bounds connecting.
    """

    pool_size: Annotated[int, Field(ge=1, le=100)] = 2
    max_overflow: Annotated[int, Field(ge=0, le=100)] = 2
    pool_timeout: Annotated[float, Field(gt=0, le=600)] = 10.0
    pool_recycle: Annotated[float, Field(gt=0)] = 1800.0
    max_connections: Annotated[int, Field(ge=1, le=1000)] | None = None
    connection_timeout: Annotated[float, Field(gt=0, le=600)] = 10.0

    @model_validator(mode="after")
    def _check_bound(self) -> "ConnectionPool":
        most = self.max_connections
        if most is not None and most < self.pool_size + self.max_overflow:
            raise ValueError("max_connections is less than pool_size + max_overflow")
        return self


class Database(Value):
    """One database of a sandbox.

    With `isolation="copy"` each sandbox works on its own copy, made on first use from the initial
    population (or empty) and dropped with the sandbox; with "shared" all work on one.

    `url` is where the server is, with the operator's own credentials; they stay on the host.
    postgres needs one (`postgresql://admin@host/db`; "copy" uses its database only to connect to);
    qdrant runs embedded without one; neo4j then runs an instance per sandbox from `image`. sqlite
    takes `path` instead: the file to share, or the file copies start from. `api_key` is Qdrant's.

    `require_tls` refuses a connection in clear text; `ca_file` is who may sign the server's
    certificate. `enforcement="best_effort"` accepts a server on which a safeguard cannot be had
    (such as PostgreSQL without a superuser); "required" refuses it. `expose` lets programs in the
    sandbox connect, with the same rights.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,29}$")]
    engine: EngineName
    description: Annotated[str, Field(max_length=500)] = ""
    isolation: Isolation = "copy"
    url: SecretStr | None = None
    path: Path | None = None
    api_key: SecretStr | None = None
    image: str | None = None
    access: Annotated[Access, BeforeValidator(_access)] = Field(
        default_factory=lambda: Access(default="read")
    )
    limits: DatabaseLimits = Field(default_factory=DatabaseLimits)
    pool: ConnectionPool = Field(default_factory=ConnectionPool)
    require_tls: bool = False
    ca_file: Path | None = None
    enforcement: Literal["required", "best_effort"] = "required"
    expose: bool = False

    @model_validator(mode="after")
    def _check_place(self) -> "Database":
        if problem := _misplaced(self):
            raise ValueError(f"database {self.name!r}: {problem}")
        return self

    def with_access(self, access: Access) -> "Database":
        """The same database for a sandbox that may do something else with it."""
        return self.model_copy(update={"access": access})


def _misplaced(database: Database) -> str | None:
    """Why the place of a database does not fit its engine; None when it does."""
    engine, shared = database.engine, database.isolation == "shared"
    if shared and database.access.default == "owner":
        return "a shared database has no owner among the sandboxes"
    unknown = {
        "url": database.url is not None and engine == "sqlite",
        "path": database.path is not None and engine != "sqlite",
        "api_key": database.api_key is not None and engine != "qdrant",
        "image": database.image is not None and (engine != "neo4j" or shared),
    }
    if wrong := [name for name, misplaced in unknown.items() if misplaced]:
        return f"{wrong[0]} means nothing to {engine}"
    if engine == "postgres" and database.url is None:
        return "postgres needs a url"
    if engine == "sqlite" and shared and database.path is None:
        return "a shared sqlite database needs a path"
    if engine in ("qdrant", "neo4j") and shared and database.url is None:
        return f"a shared {engine} database needs the url of a server"
    if engine == "neo4j" and not shared and database.url is not None:
        return "a neo4j copy is an instance of its own; with a url use isolation='shared'"
    return None


class DatabaseAccess(Value):
    """Which databases the sandboxes of a group may use."""

    databases: tuple[Database, ...] = ()

    @model_validator(mode="after")
    def _check_names(self) -> "DatabaseAccess":
        names = [database.name for database in self.databases]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two databases are named {min(twice)!r}")
        return self

    def get(self, name: str) -> Database | None:
        """The database of that name."""
        return next((each for each in self.databases if each.name == name), None)


Locate = Callable[[Sequence[str | int]], str]
"""Names the place of a field for a person."""


def _dotted(path: Sequence[str | int]) -> str:
    return ".".join(map(str, path)) or "database_access"


def parse_access(given: Any, locate: Locate = _dotted) -> DatabaseAccess:
    """A `DatabaseAccess` from plain data, such as a loaded YAML file.

    Raises:
        ConfigurationError: names each field that does not fit.
    """
    try:
        return DatabaseAccess.model_validate(given)
    except ValidationError as exc:
        problems = (
            f"{locate(error['loc'])}: {error['msg']}"
            for error in exc.errors(include_url=False, include_input=False)
        )
        raise ConfigurationError(f"bad database_access: {'; '.join(problems)}") from None
