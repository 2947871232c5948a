"""The executors there are: which plugins are loaded is said by a file of the image.

That file and all it names belong to root and lie on a read-only file system: nothing an agent does,
and nothing in its environment, changes what is loaded.
"""

import json
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from tool_plugins.errors import ConfigurationError

FILE = Path(__file__).resolve().parents[2] / "plugins.json"
"""Executor modules by the name of their plugin."""

OPTIONAL = {"browser": "playwright"}
"""Plugins of an image flavour, by the library that is there where they can work."""

Executor = Callable[..., Any]


def read_plugins(file: Path = FILE) -> dict[str, str]:
    """What the image says."""
    return json.loads(file.read_text("utf-8"))


def load_executors(plugins: Mapping[str, str]) -> dict[str, Executor]:
    """The executors of all plugins that can work here, by tool name.

    Raises:
        ConfigurationError: one cannot be loaded.
    """
    return {
        f"{name}.{verb}": function
        for name, module in plugins.items()
        if name not in OPTIONAL or find_spec(OPTIONAL[name])
        for verb, function in _executors(name, module).items()
    }


def _executors(name: str, module: str) -> Mapping[str, Executor]:
    found = getattr(_imported(name, module), "EXECUTORS", None)
    if not isinstance(found, Mapping) or not all(callable(each) for each in found.values()):
        raise ConfigurationError(
            f"the plugin {name!r} has no EXECUTORS, functions by verb: {module}"
        )
    return found


def _imported(name: str, module: str) -> ModuleType:
    try:
        return import_module(module)
    except (Exception, SystemExit) as error:  # foreign code, which may do anything
        raise ConfigurationError(
            f"the plugin {name!r} cannot be loaded: {module}: {type(error).__name__}: {error}"
        ) from error
