"""The address of a Neo4j server, read into a closed set of settings.

No error shows a value of the url, because any part of it may be a misplaced password.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tool_plugins.errors import ConfigurationError

SCHEMES = {"bolt": False, "neo4j": False, "bolt+s": True, "neo4j+s": True}
"""Whether a scheme is encrypted, with the server's certificate verified."""

UNVERIFIED = ("bolt+ssc", "neo4j+ssc")
DEFAULT_PORT = 7687
DATABASE = "neo4j"
EXAMPLE = "neo4j+s://user:password@host:7687"
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_DATABASE = re.compile(r"[A-Za-z][A-Za-z0-9.-]{2,62}")


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is and who connects. `encrypted` says that its certificate is verified."""

    uri: str
    user: str
    password: str = field(repr=False)
    encrypted: bool = False
    ca_file: str | None = None
    database: str = DATABASE

    def restricted(self, user: str, password: str) -> "Server":
        """The same server as somebody else."""
        return Server(self.uri, user, password, self.encrypted, self.ca_file, self.database)


def parse_url(url: str, *, require_tls: bool = False, ca_file: Path | None = None) -> Server:
    """The settings of a url such as neo4j+s://user:password@host:7687/database.

    Raises:
        ConfigurationError: it has parts that are not understood, or allows what `require_tls`
            excludes.
    """
    if _CONTROL.search(url):
        raise ConfigurationError("the url holds a blank or a control character")
    scheme, _, rest = url.partition("://")
    if scheme in UNVERIFIED:
        raise ConfigurationError(
            f"{scheme} does not verify who answers",
            hint=f"use {scheme[:-3]} with ca_file",
        )
    if scheme not in SCHEMES:
        raise ConfigurationError("the url is not Neo4j's", hint=f"write {EXAMPLE}")
    encrypted = SCHEMES[scheme]
    _check_tls(encrypted=encrypted, require_tls=require_tls, ca_file=ca_file)
    host, port, user, password, path = _parts(rest)
    shown = f"[{host}]" if ":" in host else host
    return Server(
        uri=f"{scheme.removesuffix('+s')}://{shown}:{port}",
        user=user,
        password=password,
        encrypted=encrypted,
        ca_file=str(ca_file) if ca_file else None,
        database=path or DATABASE,
    )


def _parts(rest: str) -> tuple[str, int, str, str, str]:
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname, parts.port or DEFAULT_PORT
    except ValueError:
        raise ConfigurationError("the url's host or port is malformed") from None
    if parts.query or parts.fragment:
        raise ConfigurationError("the url has parameters, of which none is known")
    if not host or "," in parts.netloc:
        raise ConfigurationError("the url names no host, or several", hint=f"write {EXAMPLE}")
    if not parts.username or not parts.password:
        raise ConfigurationError("the url has no user and password", hint=f"write {EXAMPLE}")
    path = parts.path.strip("/")
    if path and not _DATABASE.fullmatch(path):
        raise ConfigurationError("the url's path is not the name of a database")
    return host, port, unquote(parts.username), unquote(parts.password), path


def _check_tls(*, encrypted: bool, require_tls: bool, ca_file: Path | None) -> None:
    if encrypted:
        if ca_file is not None and not ca_file.is_file():
            raise ConfigurationError(f"ca_file {str(ca_file)!r} is not a file")
        return
    if require_tls:
        raise ConfigurationError(
            "require_tls is set, but the url connects in clear text",
            hint="use bolt+s:// or neo4j+s://",
        )
    if ca_file is not None:
        raise ConfigurationError(
            "ca_file is set, but the url connects in clear text",
            hint="use bolt+s:// or neo4j+s://",
        )
