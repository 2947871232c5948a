"""What the image is made of, read from the installed packages, and the hash that names it.

Never reaches the network or an engine.
"""

import hashlib
import io
import re
import stat
import tarfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Literal

import container_runtime
import tool_plugins
from tool_plugins.plugins import BUILT_IN, Plugin

from .plugins import plugin_files

HERE = Path(__file__).parent
PYTHON_VERSION = "3.13"
"""The Python of the Debian release below; wheels are chosen for it."""

SUITE = "trixie"
DEFAULT_BASE = f"debian:{SUITE}-slim"
Flavour = Literal["default", "browser"]
"""What an image holds beside the action server: nothing, or Chromium and what drives it."""

REPOSITORIES: dict[Flavour, str] = {
    "default": "sandbox-sdk/sandbox",
    "browser": "sandbox-sdk/browser",
}
PLUGINS = "-plugins"
"""At the end of the repository of images with plugins that an operator installed: programs with
and without them run side by side, and leave each other's images alone."""

BASE_REPOSITORY = "sandbox-sdk/base"
BROWSER_BASE_REPOSITORY = "sandbox-sdk/browser-base"
LABEL = "io.sandbox-sdk.image"

_RUNTIME_FILES = ("__init__.py", "archive.py", "relay.py")
_BUILD_FILES = ("Dockerfile", "base.Dockerfile", "packages.txt")
_REQUIREMENTS: dict[Flavour, tuple[str, ...]] = {
    "default": ("requirements.txt", "tools.txt"),
    "browser": ("requirements.txt", "tools.txt", "browser-requirements.txt"),
}
# What a wheel holds beside what runs: its tests, what its C parts were made from, and the names of
# languages in every language (31 MB), which only courlan's language filter would load; of
# playwright, the viewer of its traces; and of uv, what looks for its program.
_LEFT_OUT = re.compile(
    r"(^|/)tests/|\.(c|h|pxd|pxi|pyx)$|^babel/locale-data/|\.data/|/$"
    r"|^playwright/driver/.*(\.d\.ts$|/vite/)|^uv/"
)
# The programs of wheels that are on the path inside.
_PROGRAMS = re.compile(r"^[^/]+\.data/scripts/(uv)$")

Tree = dict[str, bytes]


class Program(bytes):
    """A file of a tree that may be executed."""


def sources(plugins: Sequence[Plugin] = BUILT_IN) -> Tree:
    """What runs in the container, by its path below /opt/sandbox."""
    tools = Path(tool_plugins.__file__).parent
    runtime = Path(container_runtime.__file__).parent
    tree = {f"tool_plugins/{path}": data for path, data in _python_files(tools)}
    tree |= {f"container_runtime/server/{p}": data for p, data in _python_files(runtime / "server")}
    for name in _RUNTIME_FILES:
        tree[f"container_runtime/{name}"] = (runtime / name).read_bytes()
    tree["start.py"] = (HERE / "start.py").read_bytes()
    return tree | plugin_files(plugins)


def _python_files(root: Path) -> Iterable[tuple[str, bytes]]:
    for path in sorted(root.rglob("*.py")):
        yield path.relative_to(root).as_posix(), path.read_bytes()


def packages() -> list[str]:
    """The Debian packages of the base."""
    return (HERE / "packages.txt").read_text().split()


def browser_packages() -> list[str]:
    """The Debian packages that the base of the flavour with a browser has besides."""
    return (HERE / "browser-packages.txt").read_text().split()


def requirements(flavour: Flavour = "default") -> list[str]:
    """The pinned wheels ("name==version"): the action server's and those of its tools."""
    texts = [(HERE / name).read_text() for name in _REQUIREMENTS[flavour]]
    return sorted({line.strip() for text in texts for line in text.splitlines() if line.strip()})


def base_tag(base: str) -> str:
    """The name of the base image on top of `base`: the same inputs give the same name."""
    recipe = f"{base}\n{SUITE}\n{' '.join(packages())}\n".encode()
    return f"{BASE_REPOSITORY}:{_digest([recipe, (HERE / 'base.Dockerfile').read_bytes()])}"


def browser_base_tag(base: str) -> str:
    """The name of the base of the flavour with a browser."""
    recipe = f"{base_tag(base)}\n{' '.join(browser_packages())}\n".encode()
    dockerfile = (HERE / "browser.Dockerfile").read_bytes()
    return f"{BROWSER_BASE_REPOSITORY}:{_digest([recipe, dockerfile])}"


def image_tag(
    base: str,
    architecture: str,
    flavour: Flavour = "default",
    plugins: Sequence[Plugin] = BUILT_IN,
) -> str:
    """The name of the sandbox image of this installation."""
    parts = [base.encode(), architecture.encode(), PYTHON_VERSION.encode()]
    parts += [(HERE / name).read_bytes() for name in _BUILD_FILES]
    parts += [line.encode() for line in requirements(flavour)]
    if flavour == "browser":
        parts.append(browser_base_tag(base).encode())
    parts += [_LEFT_OUT.pattern.encode(), _PROGRAMS.pattern.encode()]
    for path, data in sorted(sources(plugins).items()):
        parts += [path.encode(), data]
    repository = REPOSITORIES[flavour]
    if any(plugin.distribution for plugin in plugins):
        repository += PLUGINS
    return f"{repository}:{_digest(parts)}"


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8) + part)
    return digest.hexdigest()[:16]


def unpack(wheel: Path) -> Tree:
    """The files of a wheel that are used, by their path below the folder it is installed to."""
    with zipfile.ZipFile(wheel) as archive:
        return {
            member.filename: _contents(archive, member)
            for member in archive.infolist()
            if not _LEFT_OUT.search(member.filename)
        }


def programs(wheel: Path) -> Tree:
    """The programs of a wheel that are used, by their name in a folder of the path."""
    with zipfile.ZipFile(wheel) as archive:
        return {
            found[1]: Program(archive.read(name))
            for name in archive.namelist()
            if (found := _PROGRAMS.match(name))
        }


def _contents(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    mode = member.external_attr >> 16
    data = archive.read(member)
    return Program(data) if mode & stat.S_IXUSR and not _is_library(member.filename) else data


def _is_library(name: str) -> bool:
    # Loaded, never executed, though most wheels mark them as if they were.
    return name.endswith(".so") or ".so." in name


def context(files: Tree) -> IO[bytes]:
    """A build context as a tar stream, to be closed; the same files give the same bytes."""
    stream = TemporaryFile()  # noqa: SIM115 - the caller's
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path, data in sorted(files.items()):
            member = tarfile.TarInfo(path)
            member.size = len(data)
            member.mode = 0o755 if isinstance(data, Program) else 0o644
            archive.addfile(member, io.BytesIO(data))
    stream.seek(0)
    return stream
