"""The tools that manage custom tools. What they do is done by the host (`sandbox_sdk.tools`)."""

from typing import Any

from tool_plugins.contract import Annotations, Arguments, Result, ToolDefinition

from . import arguments as a
from . import results as r


def _tool(
    verb: str, description: str, arguments: type[Arguments], result: type[Result], **rest: Any
) -> ToolDefinition:
    return ToolDefinition(
        name=f"tool.{verb}",
        description=description,
        arguments=arguments,
        result=result,
        broker="tools",
        **rest,
    )


REGISTER = _tool(
    "register",
    "Turns a Python file into tools of this sandbox: each public function with type hints and a "
    "docstring becomes namespace_function. Packages are declared in a `# /// script` block "
    "(PEP 723). The whole file is replaced if the namespace is there already; with an error "
    "everything stays as it was.",
    a.RegisterArguments,
    r.RegisterResult,
    annotations=Annotations("Register custom tools", destructive=False, idempotent=True),
    timeout_argument="timeout_s",
)
LIST = _tool(
    "list",
    "Lists the custom tools by file, with errors of files that do not work. With a namespace it "
    "shows the schemas of that file's tools too.",
    a.ListArguments,
    r.ListResult,
    annotations=Annotations("List custom tools", read_only=True, idempotent=True),
)
CALL = _tool(
    "call",
    "Calls a custom tool by name. Needed only where your client does not show the tool itself, "
    "because it was registered after the client took its list.",
    a.CallArguments,
    r.CallResult,
    annotations=Annotations("Call a custom tool", open_world=True),
    timeout_argument="timeout_s",
)
REMOVE = _tool(
    "remove",
    "Removes a file of custom tools that was registered in this sandbox. Running calls finish.",
    a.RemoveArguments,
    r.RemoveResult,
    annotations=Annotations("Remove custom tools", idempotent=True),
)
TOOLS = (LIST, CALL)
REGISTRATION = (REGISTER, REMOVE)
"""Listed only where the operator lets models register tools."""
