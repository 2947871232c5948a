"""What the image is made of, read from the installed packages, and the hash that names it.

Never reaches the network or an engine.
"""

import hashlib
import io
import re
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import container_runtime
import tool_plugins

HERE = Path(__file__).parent
PYTHON_VERSION = "3.13"
"""The Python of the Debian release below; wheels are chosen for it."""

SUITE = "trixie"
DEFAULT_BASE = f"debian:{SUITE}-slim"
REPOSITORY = "sandbox-sdk/sandbox"
BASE_REPOSITORY = "sandbox-sdk/base"
LABEL = "io.sandbox-sdk.image"

_RUNTIME_FILES = ("__init__.py", "archive.py", "relay.py")
_BUILD_FILES = ("Dockerfile", "base.Dockerfile", "packages.txt")
_REQUIREMENTS = ("requirements.txt", "tools.txt")
# What a wheel holds beside what runs: its tests, what its C parts were made from, and the names of
# languages in every language (31 MB), which only courlan's language filter would load.
_LEFT_OUT = re.compile(r"(^|/)tests/|\.(c|h|pxd|pxi|pyx)$|^babel/locale-data/|\.data/|/$")

Tree = dict[str, bytes]


def sources() -> Tree:
    """The Python files that run in the container, by their path below /opt/sandbox."""
    tools = Path(tool_plugins.__file__).parent
    runtime = Path(container_runtime.__file__).parent
    tree = {f"tool_plugins/{path}": data for path, data in _python_files(tools)}
    tree |= {f"container_runtime/server/{p}": data for p, data in _python_files(runtime / "server")}
    for name in _RUNTIME_FILES:
        tree[f"container_runtime/{name}"] = (runtime / name).read_bytes()
    tree["start.py"] = (HERE / "start.py").read_bytes()
    return tree


def _python_files(root: Path) -> Iterable[tuple[str, bytes]]:
    for path in sorted(root.rglob("*.py")):
        yield path.relative_to(root).as_posix(), path.read_bytes()


def packages() -> list[str]:
    """The Debian packages of the base."""
    return (HERE / "packages.txt").read_text().split()


def requirements() -> list[str]:
    """The pinned wheels ("name==version"): the action server's and those of its tools."""
    lines = [line for name in _REQUIREMENTS for line in (HERE / name).read_text().splitlines()]
    return sorted({line.strip() for line in lines if line.strip()})


def base_tag(base: str) -> str:
    """The name of the base image on top of `base`: the same inputs give the same name."""
    recipe = f"{base}\n{SUITE}\n{' '.join(packages())}\n".encode()
    return f"{BASE_REPOSITORY}:{_digest([recipe, (HERE / 'base.Dockerfile').read_bytes()])}"


def image_tag(base: str, architecture: str) -> str:
    """The name of the sandbox image of this installation."""
    parts = [base.encode(), architecture.encode(), PYTHON_VERSION.encode()]
    parts += [(HERE / name).read_bytes() for name in _BUILD_FILES]
    parts += [line.encode() for line in requirements()]
    parts.append(_LEFT_OUT.pattern.encode())
    for path, data in sorted(sources().items()):
        parts += [path.encode(), data]
    return f"{REPOSITORY}:{_digest(parts)}"


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8) + part)
    return digest.hexdigest()[:16]


def unpack(wheel: Path) -> Tree:
    """The files of a wheel that are used, by their path below the folder it is installed to."""
    with zipfile.ZipFile(wheel) as archive:
        return {
            name: archive.read(name) for name in archive.namelist() if not _LEFT_OUT.search(name)
        }


def context(files: Tree) -> io.BytesIO:
    """A build context as a tar stream; the same files give the same bytes."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path, data in sorted(files.items()):
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
    stream.seek(0)
    return stream
