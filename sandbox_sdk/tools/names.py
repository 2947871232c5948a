"""Names of custom tools: which a file may bring, and whose they are already."""

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from tool_plugins.errors import ErrorCode, ToolError

from .models import CustomTool
from .problems import Problem, refusal

RESERVED = frozenset(
    {
        "browser",
        "database",
        "document",
        "filesystem",
        "sandbox",
        "terminal",
        "tool",
        "vector",
        "web",
    }
)
"""Namespaces of the built-in tools, whether a server offers them or not."""

MAX_NAMESPACE_CHARS = 40
MAX_SHOWN_CHARS = 80

# ASCII is said in letters: `\w` and `isidentifier` know a hundred scripts more.
_NAMESPACE = re.compile(rf"[a-zA-Z][a-zA-Z0-9_]{{0,{MAX_NAMESPACE_CHARS - 1}}}")
_FUNCTION = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")
_MCP_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def namespace_of(path: Path) -> str:
    """The namespace of a file: its name without `.py`.

    Raises:
        ToolError: INVALID_ARGUMENT: it is no Python file, or its name cannot be a namespace.
    """
    if path.suffix != ".py":
        raise ToolError(
            ErrorCode.INVALID_ARGUMENT,
            f"{shown(path.name)} is no file of tools",
            hint="name a Python file, such as my_tools.py",
        )
    if not _NAMESPACE.fullmatch(path.stem):
        better = re.sub(r"[^a-zA-Z0-9_]+", "_", path.stem).lstrip("_0123456789")
        raise _malformed(path.stem, better[:MAX_NAMESPACE_CHARS])
    return path.stem


def check_namespace(namespace: str, registry_prefixes: Collection[str]) -> None:
    """Refuses a namespace that is malformed or belongs to built-in tools, however it is spelled.

    Raises:
        ToolError: INVALID_ARGUMENT or ALREADY_EXISTS.
    """
    if not _NAMESPACE.fullmatch(namespace):
        raise _malformed(namespace)
    lower = namespace.lower()
    if lower in RESERVED or lower in {prefix.lower() for prefix in registry_prefixes}:
        raise ToolError(
            ErrorCode.ALREADY_EXISTS,
            f"{namespace}.py: the namespace {namespace!r} is that of the built-in tools {lower}_*",
            hint="choose another name for the file",
        )


def name_problem(function: str, namespace: str, line: int) -> Problem | None:
    """What is wrong with the name of a function, if anything is."""
    if not _FUNCTION.fullmatch(function):
        return Problem(f"{shown(function)} is no name of letters, digits and _ alone", line)
    name = f"{namespace}_{function}"
    if not _MCP_NAME.fullmatch(name):
        reason = f"the tool's name has {len(name)} characters, at most 64 fit"
        return Problem(reason, line, function[:MAX_SHOWN_CHARS])
    return None


def check_names(tools: Iterable[CustomTool], taken: Mapping[str, str]) -> None:
    """Refuses tools that some client could not tell from others. Case makes no difference.

    `taken` says of each name over MCP that is in use where it comes from.

    Raises:
        ToolError: SCHEMA_ERROR for a malformed name, ALREADY_EXISTS for a clash; the message names
            every tool it is about, and both places.
    """
    places = {name.lower(): place for name, place in taken.items()}
    malformed: list[Problem] = []
    clashes: list[str] = []
    namespace = ""
    for tool in tools:
        namespace, own = tool.namespace, f"{tool.name} ({tool.namespace}.py:{tool.line})"
        if problem := name_problem(tool.function, namespace, tool.line):
            malformed.append(problem)
        elif place := places.get(tool.mcp_name.lower()):
            clashes.append(f"the name {tool.mcp_name!r} of {own} is taken by {place}")
        places[tool.mcp_name.lower()] = own
    if malformed:
        raise refusal(namespace, malformed)
    if clashes:
        raise ToolError(
            ErrorCode.ALREADY_EXISTS,
            "\n".join(clashes),
            hint="rename the function, or the file; names that differ only in case are the same",
        )


def shown(name: str) -> str:
    """A name that may be anything, in quotes: escaped, and cut."""
    return repr(name if len(name) <= MAX_SHOWN_CHARS else name[:MAX_SHOWN_CHARS] + "…")


def _malformed(namespace: str, better: str = "") -> ToolError:
    hint = (
        f"a namespace begins with a letter, goes on with letters, digits and _, and has at most "
        f"{MAX_NAMESPACE_CHARS} characters"
    )
    return ToolError(
        ErrorCode.INVALID_ARGUMENT,
        f"bad namespace {shown(namespace)}",
        hint=f"{hint}; {better}.py would do" if better else hint,
    )
