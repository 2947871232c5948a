"""What a driver is told: where its database is, as whom, and how many connections it may have."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg.conninfo import make_conninfo

SETTLED = {
    # Settings a role may store for itself (ALTER ROLE ... SET) and that would then hold in every
    # new connection. What is given at connect wins over what is stored, and DISCARD ALL returns
    # to it. `options` of the connection information come after these and win over them.
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "default_transaction_deferrable": "off",
    "default_transaction_isolation": "read committed",
    "extra_float_digits": "1",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "lock_timeout": "0",
    "row_security": "on",
    "search_path": "public",
    "standard_conforming_strings": "on",
    "work_mem": "4MB",
    "xmloption": "content",
}
TIMEOUT_MARGIN_S = 5.0
"""The server's own timeout is the net below the driver's cancel request."""
CLEAR_TEXT_MODES = (None, "", "disable", "allow", "prefer")


@dataclass(frozen=True, slots=True)
class Settings:
    """`PostgresDriver`'s settings, parsed. Times are seconds."""

    conninfo: bytes
    require_tls: bool
    pool_size: int
    max_overflow: int
    pool_timeout: float
    pool_recycle: float
    connection_timeout: float

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> "Settings":
        """From the JSON of a `Copy`."""
        pool = given["pool"]
        require_tls = bool(given["require_tls"])
        words = {name: str(value) for name, value in given["conninfo"].items()}
        return cls(
            conninfo=_conninfo(words, given, tls=require_tls),
            require_tls=require_tls,
            pool_size=int(pool["pool_size"]),
            max_overflow=int(pool["max_overflow"]),
            pool_timeout=float(pool["pool_timeout"]),
            pool_recycle=float(pool["pool_recycle"]),
            connection_timeout=float(pool["connection_timeout"]),
        )


def _conninfo(words: dict[str, str], given: Mapping[str, Any], *, tls: bool) -> bytes:
    if tls and words.get("sslmode") in CLEAR_TEXT_MODES:
        # Else the password would have gone out before we look. libpq skips it for unix sockets.
        words["sslmode"] = "require"
    timeout_ms = math.ceil((float(given["timeout_s"]) + TIMEOUT_MARGIN_S) * 1000)
    settled = {
        **SETTLED,
        "default_transaction_read_only": "off" if given["writable"] else "on",
        "statement_timeout": str(timeout_ms),
    }
    options = " ".join(f"-c {name}={_escaped(value)}" for name, value in settled.items())
    defaults = {"application_name": "sandbox", "client_encoding": "UTF8", "gssencmode": "disable"}
    own = words.pop("options", "")
    merged = {**defaults, **words, "options": f"{options} {own}".strip()}
    return make_conninfo("", **merged).encode()


def _escaped(value: str) -> str:
    """As the server's `options` want a value with blanks."""
    return value.replace("\\", "\\\\").replace(" ", "\\ ")
