"""What a server must offer, so that rules hold. What it does not is an error, or is told."""

from collections.abc import Callable, Sequence

from sandbox_sdk.databases.access import Database
from tool_plugins.errors import ConfigurationError

from .admin import Connection, raw
from .hardening import Gap
from .roles import FOREIGN_DATABASES, Operator

OLDEST_VERSION = 130000
PARAMETERS_GRANTED_FROM = 150000

Report = Callable[[str], None]


def check_operator(operator: Operator, database: Database) -> None:
    """Refuses a server with which nothing would work.

    Raises:
        ConfigurationError: says what is missing.
    """
    if operator.version < OLDEST_VERSION:
        version = f"{operator.version // 10000}.{operator.version % 10000}"
        raise ConfigurationError(f"PostgreSQL {version} is too old", hint="13 is the oldest")
    missing = [] if operator.creates_roles else ["CREATEROLE"]
    if database.isolation == "copy" and not operator.creates_databases:
        missing.append("CREATEDB")
    if missing:
        raise ConfigurationError(
            f"database {database.name!r}: the operator's role lacks {' and '.join(missing)}",
            hint=f"ALTER ROLE ... {' '.join(missing)}",
        )


def operator_gaps(connection: Connection, operator: Operator, home: str) -> list[Gap]:
    """What the operator cannot take from a sandbox's role. `home` is the role's own database."""
    gaps: list[Gap] = []
    if not operator.limits_files:
        what = "fill the disk with temporary files: the operator may not set temp_file_limit"
        gaps.append(Gap(what, _permit("temp_file_limit", operator)))
    if not operator.bars_databases:
        rows = connection.execute(raw(FOREIGN_DATABASES), [home]).fetchall()
        for (name,) in rows:
            quoted = name.replace('"', '""')
            remedy = f'REVOKE CONNECT ON DATABASE "{quoted}" FROM PUBLIC'
            gaps.append(Gap(f"connect to database {name}", remedy))
    return gaps


def _permit(parameter: str, operator: Operator) -> str:
    if operator.version < PARAMETERS_GRANTED_FROM:
        return ""
    return f"GRANT SET ON PARAMETER {parameter} TO CURRENT_USER"


def settle(database: Database, gaps: Sequence[Gap], report: Report) -> None:
    """Refuses the gaps, or reports them when the configuration accepts them.

    Raises:
        ConfigurationError: `enforcement` is "required"; lists every gap and how to close it.
    """
    if not gaps:
        return
    if database.enforcement == "best_effort":
        for gap in gaps:
            report(f"{database.name}: warning: sandboxes may {gap.what}")
        return
    listed = "; ".join(gap.what for gap in gaps)
    statements = "\n".join(f"{gap.remedy};" for gap in gaps if gap.remedy)
    if database.isolation == "copy":
        hint = "let the operator be a superuser, or accept it with enforcement='best_effort'"
    else:
        hint = (
            "if that suits the database's other users, let a superuser run in it\n"
            f"{statements}\nor accept it with enforcement='best_effort'"
        )
    raise ConfigurationError(
        f"database {database.name!r}: sandboxes could {listed}",
        hint=hint,
    )
