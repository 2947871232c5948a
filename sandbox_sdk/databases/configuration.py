"""Reads what a group was given about databases, and refuses it before anything happens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tool_plugins.contract import ToolDefinition
from tool_plugins.errors import ConfigurationError

from .access import NOTHING, Access, Database, DatabaseAccess, parse_access
from .exposure import check_exposed
from .provisioner import provisioner_of

if TYPE_CHECKING:
    from .population.contents import Population

SECRETS = ("url", "api_key")
"""Fields in which `${NAME}` stands for a variable of the environment."""
PATHS = ("path", "ca_file")


@dataclass(frozen=True, slots=True)
class Configured:
    """The databases of a group, and what each starts with."""

    access: DatabaseAccess = field(default_factory=DatabaseAccess)
    populations: "Mapping[str, Population]" = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.access.databases)


def configure(
    access: DatabaseAccess | Mapping[str, Any] | Path | str | None,
    population: Path | str | None,
    environment: Mapping[str, str],
) -> Configured:
    """The checked configuration. Reads files; reaches no server.

    `access` may be the path of a YAML file that holds the fields of a `DatabaseAccess`.

    Raises:
        ConfigurationError: a field is wrong, or an engine cannot enforce a rule.
    """
    parsed = _parse(access, environment)
    for database in parsed.databases:
        check_exposed(database)
        provisioner_of(database.engine).check(database)
    if population is None:
        return Configured(parsed)
    from .population.load import load_population

    engines = {database.name: database.engine for database in parsed.databases}
    return Configured(parsed, load_population(population, engines))


def override(access: DatabaseAccess, given: Mapping[str, Access | str] | None) -> dict[str, Access]:
    """What one sandbox may do, where it differs from its group.

    Raises:
        ConfigurationError: a database is unknown, or its engine cannot enforce the rule.
    """
    changed: dict[str, Access] = {}
    for name, rule in (given or {}).items():
        database = access.get(name)
        if database is None:
            known = ", ".join(each.name for each in access.databases) or "none"
            raise ConfigurationError(
                f"the group has no database {name!r}", hint=f"its databases: {known}"
            )
        changed[name] = _rule(name, rule)
        # Validated again as a whole: an owner of a shared database is refused there.
        fields = {each: getattr(database, each) for each in Database.model_fields}
        parse_access({"databases": [fields | {"access": changed[name]}]})
        own = database.with_access(changed[name])
        if changed[name] != NOTHING:
            check_exposed(own)
        provisioner_of(database.engine).check(own)
    return changed


def tools_for(access: DatabaseAccess) -> tuple[ToolDefinition, ...]:
    """The tools that the configured databases can use, in the order of their definition."""
    if not access.databases:
        return ()
    from tool_plugins.database import definition as tools

    wanted = [tools.LIST, tools.SCHEMA]
    stores = [each for each in access.databases if each.engine == "qdrant"]
    queried = [each for each in access.databases if each.engine != "qdrant"]
    if queried:
        wanted.append(tools.QUERY)
    if any(each.access.writable for each in queried):
        wanted += [tools.EXECUTE, tools.BEGIN, tools.COMMIT, tools.ROLLBACK]
    if stores:
        wanted.append(tools.VECTOR_SEARCH)
    if any(each.access.writable for each in stores):
        wanted += [tools.VECTOR_UPSERT, tools.VECTOR_DELETE]
    return tuple(wanted)


def _parse(
    given: DatabaseAccess | Mapping[str, Any] | Path | str | None, environment: Mapping[str, str]
) -> DatabaseAccess:
    if given is None:
        return DatabaseAccess()
    if isinstance(given, DatabaseAccess):
        return given
    if isinstance(given, Mapping):
        return parse_access(given)
    if not isinstance(given, Path | str):
        raise ConfigurationError(
            f"database_access is a {type(given).__name__}",
            hint="use DatabaseAccess(...), its fields as a mapping, or the path of a YAML file",
        )
    return _load(Path(given), environment)


def _load(file: Path, environment: Mapping[str, str]) -> DatabaseAccess:
    """A YAML file; relative paths in it are relative to its folder."""
    from sandbox_sdk.documents import load_document

    document = load_document(file)
    databases = document.data.get("databases") if isinstance(document.data, dict) else None
    for each in databases if isinstance(databases, list) else ():
        if isinstance(each, dict):
            _resolve(each, file.parent, environment)

    def locate(path: Sequence[str | int]) -> str:
        return f"{file}:{document.line_of(path)}: {'.'.join(map(str, path)) or 'the file'}"

    return parse_access(document.data, locate)


def _resolve(fields: dict[str, Any], folder: Path, environment: Mapping[str, str]) -> None:
    from sandbox_sdk.documents import expand

    for name in SECRETS:
        if isinstance(fields.get(name), str):
            fields[name] = expand(fields[name], environment)
    for name in PATHS:
        if isinstance(fields.get(name), str):
            fields[name] = str(folder / fields[name])


def _rule(name: str, given: Access | str) -> Access:
    if isinstance(given, Access):
        return given
    try:
        return Access.model_validate({"default": given})
    except ValidationError:
        raise ConfigurationError(
            f"bad access {given!r} for database {name!r}",
            hint="use Access(...), 'none', 'read', 'write' or 'owner'",
        ) from None
