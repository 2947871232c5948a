"""Which plugins there are: ours, and those that installed packages add. Host side only.

A plugin has a name, with which the names of its tools begin, and a definition module, whose `TOOLS`
are a tuple of `ToolDefinition`. Beside that module, in the same Python package, lies `executor.py`
with `EXECUTORS`, functions by verb. It is loaded where sandboxes are, never here.

A package adds one by an entry point of the group `sandbox_sdk.plugins`:

    [project.entry-points."sandbox_sdk.plugins"]
    csv = "acme_tools.definition"
"""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

from .contract import Arguments, Result, ToolDefinition
from .errors import ConfigurationError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "sandbox_sdk.plugins"
ALWAYS = ("filesystem", "terminal", "document")
"""Plugins of ours whose tools every group has."""

BY_SETTINGS = ("web", "browser", "database", "tool")
"""Plugins of ours whose tools come with what a group is given, such as a policy of egress."""

RESERVED = frozenset({"sandbox", "vector"})
"""First parts of tools of ours that are not the name of a plugin."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin, not yet loaded.

    `module` is its definition. `distribution` is the installed package that brought it and its
    version ("acme-sandbox-tools 1.2"), empty for ours.
    """

    name: str
    module: str
    distribution: str = ""

    def __str__(self) -> str:
        return f"the plugin {self.name!r} of {self.origin}"

    @property
    def origin(self) -> str:
        """Who brought it, in words for an operator."""
        return f"{self.distribution} ({self.module})" if self.distribution else self.module

    @property
    def package(self) -> str:
        """The Python package that holds all of it."""
        return self.module.rpartition(".")[0]

    @property
    def executor(self) -> str:
        """The module that is loaded where sandboxes are."""
        return f"{self.package}.executor"


BUILT_IN = tuple(
    Plugin(name, f"tool_plugins.{name}.definition") for name in (*ALWAYS, *BY_SETTINGS)
)


def installed() -> tuple[Plugin, ...]:
    """Our plugins, then those of installed packages by name. Imports none of them.

    Raises:
        ConfigurationError: an entry point is malformed, or two plugins clash.
    """
    # Not at the top: it takes as long as the rest of this package, and only a group needs it.
    from importlib.metadata import entry_points

    found = list(BUILT_IN)
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        plugin = _plugin(entry)
        for other in found:
            if other.name == plugin.name:
                raise ConfigurationError(f"{plugin} has the name of {other}", hint=_hint(plugin))
            if other.package == plugin.package:
                raise ConfigurationError(
                    f"{plugin} lies in the same Python package as {other}",
                    hint="give each plugin a package of its own, with its executor.py",
                )
        found.append(plugin)
    return tuple(found)


def load_tools(plugin: Plugin) -> tuple[ToolDefinition, ...]:
    """The tools of a plugin; those of an installed package say so as their `origin`.

    Raises:
        ConfigurationError: its definition cannot be imported, or does not define tools.
    """
    tools = getattr(_imported(plugin), "TOOLS", None)
    if not isinstance(tools, tuple) or not tools:
        raise ConfigurationError(
            f"{plugin} defines no tools: TOOLS of {plugin.module} is {_kind(tools)}",
            hint="make it a tuple of ToolDefinition",
        )
    for tool in tools:
        if problem := _problem(plugin, tool):
            raise ConfigurationError(f"{plugin} {problem}", hint=_hint(plugin))
    if not plugin.distribution:
        return tools
    return tuple(replace(tool, brought_by=plugin.origin) for tool in tools)


def executors(plugins: Iterable[Plugin]) -> dict[str, str]:
    """The executor modules by the name of their plugin. Imports none of them.

    Raises:
        ConfigurationError: a plugin of an installed package has none.
    """
    found: dict[str, str] = {}
    for plugin in plugins:
        if _exists(plugin):
            found[plugin.name] = plugin.executor
        elif plugin.distribution:
            raise ConfigurationError(
                f"{plugin} has no {plugin.executor}",
                hint="put executor.py, with EXECUTORS, beside the definition",
            )
    return found


def _plugin(entry: "EntryPoint") -> Plugin:
    origin = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"
    plugin = Plugin(entry.name, entry.value, origin)
    if not _NAME.fullmatch(entry.name):
        raise ConfigurationError(f"{plugin} has a bad name", hint=f"use {_NAME.pattern}")
    if entry.name in RESERVED:
        raise ConfigurationError(f"{plugin} has the name of tools of ours", hint=_hint(plugin))
    if not _MODULE.fullmatch(entry.value):
        raise ConfigurationError(
            f"{plugin} names no module of a package",
            hint='write the entry point as name = "package.definition"',
        )
    return plugin


def _imported(plugin: Plugin) -> ModuleType:
    before = plugin.executor in sys.modules
    try:
        module = import_module(plugin.module)
    except (Exception, SystemExit) as error:  # foreign code, which may do anything
        raise ConfigurationError(
            f"{plugin} cannot be loaded: {type(error).__name__}: {error}", hint=_hint(plugin)
        ) from error
    if plugin.executor in sys.modules and not before:
        # Forgotten again, so that another try finds the same.
        del sys.modules[plugin.executor], sys.modules[plugin.module]
        raise ConfigurationError(
            f"{plugin} imports its own executor, which is for the sandbox alone",
            hint=f"take {plugin.executor} out of what {plugin.module} imports",
        )
    return module


def _problem(plugin: Plugin, tool: object) -> str:
    """What is wrong with an entry of `TOOLS`; empty when nothing is."""
    if not isinstance(tool, ToolDefinition):
        return f"has {_kind(tool)} among its TOOLS, which are ToolDefinitions"
    if tool.name.partition(".")[0] != plugin.name:
        return f"has a tool {tool.name!r}, whose name does not begin with {plugin.name!r}"
    if tool.broker is not None or tool.executor.partition(":")[0] != plugin.executor:
        return f"has a tool {tool.name!r} whose executor is not one of {plugin.executor}"
    for model, base in ((tool.arguments, Arguments), (tool.result, Result)):
        if not (isinstance(model, type) and issubclass(model, base)):
            return f"has a tool {tool.name!r} with {model!r} where a subclass of {base.__name__} is"
    return ""


def _exists(plugin: Plugin) -> bool:
    try:
        return find_spec(plugin.executor) is not None
    except (Exception, SystemExit) as error:  # it imports the packages around the module
        raise ConfigurationError(
            f"{plugin} cannot be loaded: {type(error).__name__}: {error}", hint=_hint(plugin)
        ) from error


def _kind(value: object) -> str:
    return "missing" if value is None else f"a {type(value).__name__}"


def _hint(plugin: Plugin) -> str:
    return f"correct or uninstall {plugin.distribution or plugin.module}"
