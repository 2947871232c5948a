"""MCP clients that others wrote, installed under `.cache` where they are not there yet."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mcp_server.processes import ROOT, arguments, started

CACHE = ROOT / ".cache"
INSPECTOR = "@modelcontextprotocol/inspector@2.12.0"
ADAPTER = "pydantic-ai-slim[mcp]==2.68.0"
INSTALL_TIMEOUT_S = 400


def inspector() -> list[str]:
    """The command of the MCP Inspector."""
    folder = CACHE / "inspector"
    command = folder / "node_modules" / ".bin" / "mcp-inspector"
    if not command.exists() or not _is(folder, INSPECTOR):
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("the MCP Inspector needs npm; on Debian or Ubuntu: apt-get install npm")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}', encoding="utf-8")
        flags = ("--no-audit", "--no-fund", "--loglevel=error")
        _run(npm, "install", "--prefix", str(folder), *flags, INSPECTOR)
        _remember(folder, INSPECTOR)
    return [str(command), "--cli"]


def adapter() -> Path:
    """A Python with an agent framework and its MCP adapter, and without our packages."""
    folder = CACHE / "adapter"
    python = folder / "environment" / "bin" / "python"
    if not python.exists() or not _is(folder, ADAPTER):
        _run(sys.executable, "-m", "venv", "--clear", str(folder / "environment"))
        _run(str(python), "-m", "pip", "install", "--quiet", ADAPTER)
        _remember(folder, ADAPTER)
    return python


@contextmanager
def http_server(state: Path, transport: str = "http") -> Iterator[str]:
    """Our server on a free port; the address of its MCP endpoint."""
    options = arguments(state, "--transport", transport, "--port", "0")
    with started(*options) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        assert said.startswith("serving MCP at "), said
        yield said.removeprefix("serving MCP at ").strip()


def _is(folder: Path, what: str) -> bool:
    marker = folder / "installed"
    return marker.exists() and marker.read_text(encoding="utf-8") == what


def _remember(folder: Path, what: str) -> None:
    (folder / "installed").write_text(what, encoding="utf-8")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=INSTALL_TIMEOUT_S, stdin=subprocess.DEVNULL)
