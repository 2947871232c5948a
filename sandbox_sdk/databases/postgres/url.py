"""The address of a PostgreSQL server, read into a closed set of settings.

libpq understands some fifty parameters, several of which name files or further servers. A url may
use those listed here; every other one is refused by its name. No error shows a value of the url,
because any part of it may be a misplaced password.
"""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tool_plugins.errors import ConfigurationError

SCHEMES = ("postgresql://", "postgres://")
PARAMETERS = (
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "connect_timeout",
    "application_name",
)
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
CLEAR_TEXT_MODES = ("disable", "allow", "prefer")
VERIFYING_MODES = ("verify-ca", "verify-full")
DEFAULT_PORT = 5432
APPLICATION_NAME = "sandbox_sdk"
OF_THE_OPERATOR = ("sslcert", "sslkey")
EXAMPLE = "postgresql://user:password@host:5432/database"
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is and who connects. `host` is a name, an address, or a socket's folder.

    Empty strings are settings that were not given; `connect_timeout` is in seconds.
    """

    host: str
    user: str
    port: int = DEFAULT_PORT
    password: str = field(default="", repr=False)
    dbname: str = ""
    sslmode: str = "prefer"
    sslrootcert: str = ""
    sslcert: str = ""
    sslkey: str = ""
    connect_timeout: int = 10
    application_name: str = APPLICATION_NAME

    @property
    def local(self) -> bool:
        """Whether it is reached over a unix socket, which never leaves the host."""
        return self.host.startswith(("/", "@"))

    def conninfo(self, dbname: str) -> dict[str, str]:
        """As the operator, by libpq's keywords; what was not given is left out."""
        values = {name: str(getattr(self, name)) for name in PARAMETERS}
        values["dbname"] = dbname
        return {name: value for name, value in values.items() if value}

    def restricted(self, *, dbname: str, user: str, password: str) -> dict[str, str]:
        """As somebody else: nothing of the operator's own credentials is in it."""
        own = {"dbname": dbname, "user": user, "password": password}
        return {
            name: value
            for name, value in (self.conninfo(dbname) | own).items()
            if name not in OF_THE_OPERATOR
        }


def parse_url(
    url: str,
    *,
    require_tls: bool = False,
    ca_file: Path | None = None,
    connect_timeout_s: float = 10.0,
) -> Server:
    """The settings of a url.

    Without `sslmode`, a `ca_file` means verify-full and `require_tls` means require.

    Raises:
        ConfigurationError: it has an unknown parameter, several hosts, a malformed value, or
            allows what `require_tls` excludes.
    """
    given = _parameters(url)
    ca = _root_certificate(given, ca_file)
    timeout = _whole(given, "connect_timeout", 1, 600) or max(1, math.ceil(connect_timeout_s))
    server = Server(
        host=given["host"],
        user=given["user"],
        port=_whole(given, "port", 1, 65535) or DEFAULT_PORT,
        password=given.get("password", ""),
        dbname=given.get("dbname", ""),
        sslmode=given.get("sslmode") or _default_mode(ca=ca, require_tls=require_tls),
        sslrootcert=ca,
        sslcert=given.get("sslcert", ""),
        sslkey=given.get("sslkey", ""),
        connect_timeout=timeout,
        application_name=given.get("application_name", APPLICATION_NAME),
    )
    _check_tls(server, require_tls=require_tls, ca_file=ca_file)
    return server


def _parameters(url: str) -> dict[str, str]:
    if not url.startswith(SCHEMES):
        raise ConfigurationError("the url is not PostgreSQL's", hint=f"write {EXAMPLE}")
    if CONTROL.search(url):
        raise ConfigurationError("the url contains a control character")
    if unknown := [name for name in _query_names(url) if name not in (*PARAMETERS, "ssl")]:
        raise ConfigurationError(
            f"the url's parameter {unknown[0]!r} is not supported",
            hint=f"supported are {', '.join(PARAMETERS)}",
        )
    try:
        parsed = conninfo_to_dict(url)
    except psycopg.Error:
        # libpq quotes the malformed part, which may be the password.
        raise ConfigurationError("the url is malformed", hint=f"write {EXAMPLE}") from None
    given = {name: str(value) for name, value in parsed.items() if value is not None}
    for name, value in given.items():
        if name not in PARAMETERS:
            raise ConfigurationError(f"the url's parameter {name!r} is not supported")
        if CONTROL.search(value):
            raise ConfigurationError(f"the url's {name} contains a control character")
    if "," in given.get("host", "") or "," in given.get("port", ""):
        raise ConfigurationError("the url names several hosts", hint="name the one to use")
    for name, meaning in (("host", "a host or a socket's folder"), ("user", "a user")):
        if not given.get(name):
            raise ConfigurationError(f"the url names no {name}", hint=f"name {meaning}: {EXAMPLE}")
    if re.search(r"=|://", given.get("dbname", "")):
        raise ConfigurationError("the url's database name is itself a connection string")
    if given.get("sslmode", SSL_MODES[0]) not in SSL_MODES:
        raise ConfigurationError("the url's sslmode is unknown", hint=f"use {', '.join(SSL_MODES)}")
    return given


def _query_names(url: str) -> list[str]:
    """The names of the parameters, which libpq's error would quote with their values.

    Only what follows the last "@": before it may stand a password with a question mark in it.
    """
    query = url.rpartition("@")[2].partition("?")[2]
    return [part.partition("=")[0] for part in query.split("&") if "=" in part]


def _whole(given: dict[str, str], name: str, low: int, high: int) -> int | None:
    text = given.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise ConfigurationError(f"the url's {name} is not a whole number of {low} to {high}")
    return int(text)


def _root_certificate(given: dict[str, str], ca_file: Path | None) -> str:
    stated = given.get("sslrootcert", "")
    if ca_file is None:
        return stated
    if stated and Path(stated) != ca_file:
        raise ConfigurationError("ca_file and the url's sslrootcert differ", hint="give one")
    return str(ca_file)


def _default_mode(*, ca: str, require_tls: bool) -> str:
    if ca:
        return "verify-full"
    return "require" if require_tls else "prefer"


def _check_tls(server: Server, *, require_tls: bool, ca_file: Path | None) -> None:
    if server.local:
        return
    if require_tls and server.sslmode in CLEAR_TEXT_MODES:
        raise ConfigurationError(
            f"require_tls is set, but sslmode {server.sslmode!r} allows clear text",
            hint="use sslmode=verify-full, or leave sslmode out",
        )
    if ca_file is not None and server.sslmode not in VERIFYING_MODES:
        raise ConfigurationError(
            f"ca_file is set, but sslmode {server.sslmode!r} does not verify the certificate",
            hint="use sslmode=verify-full, or leave sslmode out",
        )
