"""Makes the base image: from a pulled slim Debian, else from one bootstrapped on this host."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from container_runtime.engines.docker_client import DockerClient, EngineRefusal
from tool_plugins.errors import EngineError, ImageError

from .build import build, exists
from .inputs import (
    HERE,
    SUITE,
    Flavour,
    Tree,
    base_tag,
    browser_base_tag,
    browser_packages,
    packages,
)

PULL_SILENCE_S = 20.0
"""A registry that says nothing for this long counts as out of reach."""

PULL_TIMEOUT_S = 900.0
BOOTSTRAP_TIMEOUT_S = 900
IMPORT_TIMEOUT_S = 300.0

Report = Callable[[str], None]


async def ensure_base(client: DockerClient, base: str, flavour: Flavour, report: Report) -> str:
    """The name of the flavour's base image on top of `base`, made where it is missing.

    Raises:
        ImageError: neither way works here; the hint says what either needs.
    """
    if flavour == "default":
        return await _ensure_plain(client, base, report)
    tag = browser_base_tag(base)
    if not await exists(client, tag):
        plain = await _ensure_plain(client, base, report)
        report("installing Chromium (about a minute)")
        files: Tree = {"Dockerfile": (HERE / "browser.Dockerfile").read_bytes()}
        arguments = {"BASE": plain, "PACKAGES": " ".join(browser_packages())}
        await build(client, tag, files, arguments=arguments, network="host", report=report)
    return tag


async def _ensure_plain(client: DockerClient, base: str, report: Report) -> str:
    tag = base_tag(base)
    if await exists(client, tag):
        return tag
    refused = await _pull(client, base, report)
    if not refused:
        report(f"installing packages on top of {base}")
        files: Tree = {"Dockerfile": (HERE / "base.Dockerfile").read_bytes()}
        arguments = {"BASE": base, "PACKAGES": " ".join(packages())}
        await build(client, tag, files, arguments=arguments, network="host", report=report)
        return tag
    report(f"{base} cannot be pulled; bootstrapping Debian {SUITE} instead (about a minute)")
    await _bootstrap(client, tag, base, refused, report)
    return tag


async def _pull(client: DockerClient, base: str, report: Report) -> str:
    """Why `base` cannot be had; empty when it is there."""
    if await exists(client, base):
        return ""
    report(f"pulling {base}")
    repository, _, tag = base.partition(":")

    def pull(api: Any) -> str:
        for event in api.pull(repository, tag=tag, stream=True, decode=True):
            if "error" in event:
                return str(event["error"])
        return ""

    try:
        return await client.run_long(pull, timeout_s=PULL_TIMEOUT_S, silence_s=PULL_SILENCE_S)
    except EngineError as error:
        return error.message


async def _bootstrap(
    client: DockerClient, tag: str, base: str, refused: str, report: Report
) -> None:
    await asyncio.to_thread(_want_bootstrap, base, refused, report)
    with TemporaryDirectory(prefix="sandbox-sdk-base-") as folder:
        tarball = Path(folder, "base.tar")
        await asyncio.to_thread(_mmdebstrap, tarball)
        report("importing the bootstrapped Debian")
        repository, _, version = tag.partition(":")

        def load(api: Any) -> None:
            with tarball.open("rb") as stream:
                api.import_image(src=stream, repository=repository, tag=version)

        try:
            await client.run_long(load, timeout_s=IMPORT_TIMEOUT_S, silence_s=IMPORT_TIMEOUT_S)
        except EngineRefusal as error:
            raise ImageError(f"the engine cannot import the base: {error.message}") from error


def _want_bootstrap(base: str, refused: str, report: Report) -> None:
    """Makes sure that mmdebstrap can run here, installing it where apt-get can."""
    hint = (
        f"let the engine pull {base}, or run once as root on Debian or Ubuntu with "
        "`apt-get install mmdebstrap debian-archive-keyring`"
    )
    problem = ImageError(f"no base image: {refused}", hint=hint)
    if os.geteuid() != 0:
        raise problem
    if shutil.which("mmdebstrap") is None:
        if shutil.which("apt-get") is None:
            raise problem
        report("installing mmdebstrap")
        command = ["apt-get", "install", "--yes", "--quiet", "mmdebstrap", "debian-archive-keyring"]
        with suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired):
            _run(["apt-get", "update", "--quiet"])
        try:
            _run(command)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise problem from error


def _run(command: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(  # noqa: S603 - fixed words
        command, check=True, capture_output=True, timeout=BOOTSTRAP_TIMEOUT_S, env=environment
    )


def _mmdebstrap(tarball: Path) -> None:
    include = f"--include={','.join(packages())}"
    trim = [
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        # Facts of the machine it is made on stay there.
        '--customize-hook=rm -f "$1/etc/hostname" "$1/etc/resolv.conf"',
    ]
    try:
        _run(["mmdebstrap", "--quiet", "--variant=minbase", *trim, include, SUITE, str(tarball)])
    except subprocess.CalledProcessError as error:
        detail = error.stderr.decode(errors="replace").strip()[-800:]
        raise ImageError(
            f"mmdebstrap failed: {detail}", hint="see /etc/apt/sources.list"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ImageError(
            "mmdebstrap did not finish", hint="is a Debian mirror in reach?"
        ) from error
