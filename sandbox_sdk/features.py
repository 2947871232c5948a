"""What the sandboxes of a group have beside their containers: read and checked, not opened yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tool_plugins.registry import ToolRegistry

from .config import environment

if TYPE_CHECKING:
    from .databases.access import DatabaseAccess
    from .databases.configuration import Configured
    from .egress.policy import EgressPolicy
    from .search.provider import SearchProvider


@dataclass(frozen=True, slots=True)
class Features:
    """See `SandboxGroup`. `registry` has the tools that follow from all of them."""

    databases: "Configured"
    egress_policy: "EgressPolicy | None"
    search: "SearchProvider | None"
    browser: bool
    tools: tuple[Path, ...]
    package_index: str | None
    registry: ToolRegistry


def read_features(
    registry: ToolRegistry | None,
    *,
    database_access: "DatabaseAccess | Mapping[str, Any] | Path | str | None",
    population: Path | str | None,
    egress_policy: "EgressPolicy | Mapping[str, Any] | Path | str | None",
    web_search: "SearchProvider | Mapping[str, Any] | Path | str | None",
    browser: bool,
    tools: "Sequence[Path | str]",
    tool_registration: bool,
    package_index: str | None,
) -> Features:
    """The settings of a group, each in its one form.

    Raises:
        ConfigurationError: one is wrong; the message names it.
    """
    # Not at the top: their models would slow down every import of the SDK.
    from .databases.configuration import configure
    from .egress.loading import parse_policy
    from .listing import compose
    from .search.configuration import configure_search
    from .tools.packages import check_index
    from .tools.sources import parse_tools

    databases = configure(database_access, population, environment())
    policy = parse_policy(egress_policy, environment())
    search = configure_search(web_search, environment())
    files = parse_tools(tools)
    return Features(
        databases=databases,
        egress_policy=policy,
        search=search,
        browser=browser,
        tools=files,
        package_index=check_index(package_index),
        registry=compose(
            registry,
            databases=databases.access,
            egress_policy=policy,
            search=search is not None,
            browser=browser,
            custom=bool(files),
            registration=tool_registration,
        ),
    )
