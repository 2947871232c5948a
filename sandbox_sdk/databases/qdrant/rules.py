"""What an `Access` means for Qdrant: nothing, reading, or reading and writing, per collection.

A token of Qdrant knows no finer right: `r` reads a collection, `prw` also adds, replaces and
deletes its points. Neither creates collections, and no tool does. There are no rows or columns to
restrict: servers refuse tokens with a condition on the payload since 1.15. The embedded engine is
held to the same rules, so that a configuration means the same on both.
"""

from collections.abc import Iterable, Mapping
from typing import Literal
from urllib.parse import urlsplit

from sandbox_sdk.databases.access import Access, Database, TableAccess
from tool_plugins.errors import ConfigurationError

Right = Literal["read", "write"]
TOKEN_RIGHTS: Mapping[Right, str] = {"read": "r", "write": "prw"}


def check_database(database: Database) -> None:
    """Refuses what neither the server nor the embedded engine can hold.

    Raises:
        ConfigurationError: names the rule and the reason.
    """
    _check_access(database)
    if database.expose:
        raise _refusal(database, "expose", "programs in a sandbox have no way to qdrant")
    if database.url is None:
        unused = {
            "require_tls": database.require_tls,
            "ca_file": database.ca_file is not None,
            "api_key": database.api_key is not None,
        }
        for name in (name for name, given in unused.items() if given):
            raise _refusal(database, name, "without a url qdrant is embedded; nothing connects")
        return
    _check_url(database, database.url.get_secret_value())
    if "__" in database.name or database.name.endswith("_"):
        raise _refusal(
            database,
            "its name",
            "on a server, two underscores part sandbox, database and collection",
        )
    if database.api_key is None and database.enforcement == "required":
        raise _refusal(
            database,
            "a url without api_key",
            "each sandbox's token is signed with it",
            hint="give api_key; or enforcement='best_effort' for a server without keys",
        )


def rights(access: Access, collections: Iterable[str], *, database: str) -> dict[str, Right]:
    """The right on each collection that may be used at all.

    Raises:
        ConfigurationError: a rule names a collection that is not there.
    """
    known = list(collections)
    if missing := [name for name in access.tables if name not in known]:
        there = ", ".join(known) or "none"
        raise ConfigurationError(
            f"database {database!r}: access names collection {missing[0]!r}, which is not there",
            hint=f"its collections: {there}",
        )
    granted: dict[str, Right] = {}
    for name in known:
        right = _right(access.rule(name))
        if right is not None:
            granted[name] = right
    return granted


def _check_access(database: Database) -> None:
    access = database.access
    if access.default == "owner":
        raise _refusal(
            database,
            "access 'owner'",
            "no tool creates or drops collections",
            hint="use 'write'; collections come from the initial population",
        )
    if access.schemas:
        raise _refusal(database, "schemas", "qdrant has none", hint="use tables: collections")
    if database.isolation == "shared" and access.default != "none":
        raise _refusal(
            database,
            f"default {access.default!r} with isolation 'shared'",
            "a token lists the collections it opens",
            hint="leave default at 'none' and name the collections in tables",
        )
    for name in access.tables:
        _check_rule(database, name, access.rule(name))


def _check_rule(database: Database, name: str, rule: TableAccess) -> None:
    where = f"the rule of collection {name!r}"
    if rule.rows is not None:
        raise _refusal(
            database,
            f"rows in {where}",
            "qdrant has no row security: it refuses tokens with a condition since 1.15",
            hint="put the points into a collection of their own",
        )
    given = (rule.select, rule.insert, rule.update, rule.delete)
    if any(isinstance(each, tuple) for each in given):
        raise _refusal(database, f"columns in {where}", "a point is read and written as a whole")
    if given not in ((False,) * 4, (True, False, False, False), (True,) * 4):
        raise _refusal(
            database,
            where,
            "a token of qdrant reads, or reads and writes; it cannot tell insert, update and "
            "delete apart, nor write without reading",
            hint="use 'none', 'read' or 'write'",
        )


def _check_url(database: Database, url: str) -> None:
    parts = urlsplit(url)
    try:
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or parts.query or parts.fragment:
        raise _refusal(database, "its url", "it is not like https://qdrant.example:6333")
    if parts.username is not None or parts.password is not None:
        raise _refusal(database, "a user in its url", "qdrant has none", hint="use api_key")
    if database.require_tls and parts.scheme != "https":
        raise _refusal(database, "an http url with require_tls", "it is clear text")


def _right(rule: TableAccess) -> Right | None:
    if rule.insert:
        return "write"
    return "read" if rule.select else None


def _refusal(database: Database, what: str, why: str, *, hint: str = "") -> ConfigurationError:
    return ConfigurationError(
        f"database {database.name!r}: {what} is not possible: {why}", hint=hint
    )
