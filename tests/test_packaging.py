"""The built wheel, installed into an empty environment far from the checkout."""

import os
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.documents import ROOT, blocks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PROGRAM = """
import asyncio, sandbox_sdk, sys
from sandbox_sdk import SandboxGroup

async def main():
    async with SandboxGroup(report=print) as group, await group.create_sandbox() as sandbox:
        result = await sandbox.terminal.run("echo from inside; id -un")
        print(result.stdout, end="")

asyncio.run(main())
"""
KEPT_OUT = ("mcp", "docker", "requests", "sqlalchemy", "starlette", "uvicorn")


@dataclass(frozen=True, slots=True)
class Installed:
    """The environment that the README's commands made, and a folder to work in."""

    folder: Path
    wheel: Path

    def run(self, program: str, *arguments: str, timeout_s: float = 300) -> str:
        """Runs a program of the environment, and returns what it printed."""
        done = subprocess.run(
            [self.folder / "env" / "bin" / program, *arguments],
            cwd=self.folder, env=clean_environment(), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def clean_environment() -> dict[str, str]:
    """This environment without what would lead back to the checkout."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    python = Path(getattr(sys, "_base_executable", sys.executable)).parent
    path = f"{python}{os.pathsep}{os.environ['PATH']}"
    return kept | {"PATH": path, "PIP_CONSTRAINT": str(ROOT / "constraints.txt")}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Builds the wheel and installs it with the commands of the README."""
    folder = tmp_path_factory.mktemp("elsewhere")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir"]
    subprocess.run([*build, folder / "dist", ROOT], check=True, stdout=subprocess.DEVNULL)
    for line in install_commands():
        subprocess.run(
            line, shell=True, cwd=folder, env=clean_environment(), check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
    (wheel,) = (folder / "dist").glob("*.whl")
    return Installed(folder, wheel)


def install_commands() -> list[str]:
    """The lines of the README's install block that make the environment."""
    (block,) = [block for block in blocks("sh") if "env/bin/pip install" in block.text]
    lines = block.text.splitlines()
    return [line for line in lines if line.startswith(("python3 -m venv", "env/bin/pip"))]


def test_the_wheel_holds_the_packages_with_their_files_and_no_tests(installed: Installed) -> None:
    names = zipfile.ZipFile(installed.wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    packages = {"mcp_server", "sandbox_sdk", "container_runtime", "tool_plugins"}
    assert {top for top in tops if not top.endswith(".dist-info")} == packages
    tracked = subprocess.run(
        ["git", "ls-files", *sorted(packages)], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    assert set(tracked) - set(names) == set()


def test_the_command_says_its_version(installed: Installed) -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert installed.run("sandbox-mcp", "--version").split()[-1] == version[1]


def test_the_command_lists_every_tool(installed: Installed) -> None:
    listed = installed.run("sandbox-mcp", "tools")
    for name in ("filesystem_edit", "terminal_run"):
        assert name in listed or name.replace("_", ".") in listed


def test_nothing_is_taken_from_the_checkout(installed: Installed) -> None:
    where = installed.run("python", "-c", "import sandbox_sdk; print(sandbox_sdk.__file__)")
    assert where.startswith(str(installed.folder))


def test_the_sdk_is_imported_without_what_it_may_not_need(installed: Installed) -> None:
    code = f"import sandbox_sdk, sys; print(*[m for m in {KEPT_OUT!r} if m in sys.modules])"
    assert installed.run("python", "-c", code).split() == []


@pytest.mark.docker
def test_the_image_of_the_wheel_is_the_one_of_the_checkout(installed: Installed) -> None:
    here = subprocess.run(
        [Path(sys.executable).with_name("sandbox-mcp"), "image", "build"],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    assert installed.run("sandbox-mcp", "image", "build").split()[-1] == here[-1]


@pytest.mark.docker
def test_a_program_of_the_wheel_runs_a_command_in_a_sandbox(installed: Installed) -> None:
    assert installed.run("python", "-c", PROGRAM) == "from inside\nagent\n"
