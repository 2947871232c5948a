"""Which tools a group has: those of its registry, and those its settings add."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from tool_plugins.errors import ImageError
from tool_plugins.registry import ToolRegistry, load_registry

if TYPE_CHECKING:
    from .databases.access import DatabaseAccess
    from .egress.policy import EgressPolicy


def compose(
    registry: ToolRegistry | None,
    *,
    databases: "DatabaseAccess",
    egress_policy: "EgressPolicy | None",
    search: bool,
    browser: bool,
    custom: bool,
    registration: bool,
) -> ToolRegistry:
    """The tools of a group, in the order in which clients see them.

    Raises:
        ConfigurationError: the registry has a tool of a name that the settings bring too.
    """
    # Not at the top: their models would slow down every import of the SDK.
    from .databases.configuration import tools_for
    from .egress.listing import web_tools

    tools = [
        *(load_registry() if registry is None else registry),
        *tools_for(databases),
        *web_tools(egress_policy, search=search, browser=browser),
    ]
    if custom or registration:
        from tool_plugins.tool.definition import REGISTRATION, TOOLS

        tools += [*TOOLS, *(REGISTRATION if registration else ())]
    return ToolRegistry(tools)


def check_present(registry: ToolRegistry, present: Collection[str]) -> None:
    """Makes sure that a sandbox has an executor of every tool that needs one.

    Raises:
        ImageError: it lacks some; the message names who brought them.
    """
    lacking = [each for each in registry if each.broker is None and each.name not in present]
    if lacking:
        tools = ", ".join(f"{each.name} of {each.origin}" for each in lacking)
        raise ImageError(
            f"the sandbox has no executor of {tools}",
            hint="an installed plugin needs each verb in its EXECUTORS; a ready-made image, or an "
            "engine of your own, must hold the same plugins and flavour",
        )
