"""Which web tools a group has."""

from tool_plugins.contract import ToolDefinition

from .policy import EgressPolicy


def web_tools(
    policy: EgressPolicy | None, *, search: bool, browser: bool
) -> tuple[ToolDefinition, ...]:
    """The tools that a group's settings give it, in the order of their definition."""
    wanted: list[ToolDefinition] = []
    if policy is not None or search:
        from tool_plugins.web import definition as tools

        if policy is not None:
            wanted += [tools.FETCH, tools.DOWNLOAD]
        if policy is not None and policy.web_request:
            wanted.append(tools.REQUEST)
        if search:
            wanted.append(tools.SEARCH)
    if browser:
        from tool_plugins.browser.definition import TOOLS

        wanted += TOOLS
    return tuple(wanted)
