"""What the image holds of plugins that an operator installed, and the list of what is loaded."""

import json
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from tool_plugins.errors import ConfigurationError
from tool_plugins.plugins import Plugin, executors

MAX_BYTES = 16 * 1024 * 1024
COMPILED = frozenset({".so", ".pyd", ".dll", ".dylib"})


def plugin_files(plugins: Sequence[Plugin]) -> dict[str, bytes]:
    """The list `plugins.json`, and below `plugins` the packages that installed plugins are.

    Raises:
        ConfigurationError: a plugin has no executor, is not pure Python, or is very large.
    """
    tree = {"plugins.json": json.dumps(executors(plugins), indent=1).encode()}
    for plugin in plugins:
        if plugin.distribution:  # ours are there anyway
            tree |= {f"plugins/{path}": data for path, data in _package(plugin).items()}
    return tree


def _package(plugin: Plugin) -> dict[str, bytes]:
    """Every file of the plugin's package, and the `__init__.py` of those around it."""
    files: dict[str, bytes] = {}
    size = 0
    for path, file in (*_around(plugin.package), *_inside(plugin.package)):
        if file.suffix in COMPILED:
            raise ConfigurationError(
                f"{plugin} is not pure Python: it holds {path}",
                hint="the sandbox has another Python, so only source files can be taken there",
            )
        size += file.stat().st_size
        if size > MAX_BYTES:
            raise ConfigurationError(
                f"{plugin} is larger than {MAX_BYTES // 1024**2} MiB",
                hint=f"every file of the package {plugin.package} becomes part of the image: "
                "give the plugin a package of its own",
            )
        files[path] = file.read_bytes()
    return files


def _around(package: str) -> Iterator[tuple[str, Path]]:
    names = package.split(".")
    for depth in range(1, len(names)):
        for folder in _folders(".".join(names[:depth])):
            if (file := folder / "__init__.py").is_file():
                yield "/".join([*names[:depth], "__init__.py"]), file


def _inside(package: str) -> Iterator[tuple[str, Path]]:
    below = Path(*package.split("."))
    for folder in _folders(package):
        for file in sorted(folder.rglob("*")):
            relative = file.relative_to(folder)
            hidden = any(part.startswith((".", "__pycache__")) for part in relative.parts)
            if file.is_file() and not hidden and file.suffix != ".pyc":
                yield (below / relative).as_posix(), file


def _folders(package: str) -> list[Path]:
    spec = find_spec(package)
    found = spec.submodule_search_locations if spec is not None else None
    return [Path(folder) for folder in found or ()]
