"""The browser tools. Listed only where the group's image is the flavour with a browser."""

from tool_plugins.contract import Annotations, ToolDefinition

from . import arguments as a
from . import results as r

TOOLS = (
    ToolDefinition(
        name="browser.open",
        description=(
            "Opens a URL in the sandbox's browser, which starts at first use, and returns a "
            "snapshot: the page's accessibility tree, in which each element has a ref. Use "
            "web_fetch to read a page; use this where a page needs JavaScript or is to be operated."
        ),
        arguments=a.OpenArguments,
        result=r.PageResult,
        annotations=Annotations("Open a page", destructive=False, open_world=True),
        executor="tool_plugins.browser.executor:open_page",
        timeout_argument="timeout_s",
        untrusted=("title", "snapshot"),
    ),
    ToolDefinition(
        name="browser.snapshot",
        description="Returns a snapshot of the page as it is now, or of a part of it.",
        arguments=a.SnapshotArguments,
        result=r.PageResult,
        annotations=Annotations("Look at the page", read_only=True, open_world=True),
        executor="tool_plugins.browser.executor:snapshot",
        timeout_argument="timeout_s",
        untrusted=("title", "snapshot"),
    ),
    ToolDefinition(
        name="browser.act",
        description=(
            "Operates the page: clicks, types, presses keys, selects, scrolls, goes back, waits. "
            "ref names an element of the last snapshot. Returns a snapshot of what came of it."
        ),
        arguments=a.ActArguments,
        result=r.PageResult,
        annotations=Annotations("Operate the page", open_world=True),
        executor="tool_plugins.browser.executor:act",
        timeout_argument="timeout_s",
        untrusted=("title", "snapshot"),
    ),
    ToolDefinition(
        name="browser.screenshot",
        description="Takes a picture of the page, or of one element.",
        arguments=a.ScreenshotArguments,
        result=r.ScreenshotResult,
        annotations=Annotations("Take a screenshot", destructive=False, open_world=True),
        executor="tool_plugins.browser.executor:screenshot",
        timeout_argument="timeout_s",
    ),
    ToolDefinition(
        name="browser.close",
        description="Closes the browser and frees its memory. Cookies are gone with it.",
        arguments=a.CloseArguments,
        result=r.CloseResult,
        annotations=Annotations("Close the browser", destructive=False, idempotent=True),
        executor="tool_plugins.browser.executor:close",
    ),
)
