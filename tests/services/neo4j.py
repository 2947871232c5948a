"""A Neo4j Community image for tests, made of its Java archives on top of a small Debian.

It takes the same environment as the public image. The engine keeps it from run to run; its name is
a hash of what it is made of. Needs Docker, and to be built once: root, `mvn` and `mmdebstrap`.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import docker
from docker.errors import DockerException, ImageNotFound

from container_runtime.image.builder import default_cache
from container_runtime.image.inputs import SUITE, context

INPUTS = Path(__file__).parent / "neo4j_image"
REPOSITORY = "sandbox-sdk/neo4j-test"
PACKAGES = ("openjdk-21-jre-headless",)
STEP_TIMEOUT_S = 900


class Unavailable(Exception):
    """The image cannot be had here; the text says why."""


def image(report: Callable[[str], None] = lambda _line: None) -> str:
    """The name of the image, built first where it is missing (about three minutes).

    Raises:
        Unavailable: it is missing and cannot be built here.
    """
    tag = f"{REPOSITORY}:{_digest()}"
    try:
        with closing(docker.from_env(timeout=STEP_TIMEOUT_S)) as engine:
            if _exists(engine, tag):
                return tag
            with _alone():
                if not _exists(engine, tag):
                    _build(engine, tag, report)
    except DockerException as error:
        raise Unavailable(f"the Docker Engine says: {error}") from error
    return tag


def _digest() -> str:
    parts = [path.read_bytes() for path in sorted(INPUTS.iterdir())]
    parts.append(f"{SUITE} {' '.join(PACKAGES)}".encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _exists(engine: docker.DockerClient, tag: str) -> bool:
    try:
        engine.images.get(tag)
    except ImageNotFound:
        return False
    return True


@contextmanager
def _alone() -> Iterator[None]:
    """One builder at a time on this machine."""
    folder = default_cache()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "neo4j-image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(engine: docker.DockerClient, tag: str, report: Callable[[str], None]) -> None:
    if missing := [name for name in ("mvn", "mmdebstrap") if shutil.which(name) is None]:
        raise Unavailable(f"its image cannot be built without {' and '.join(missing)}")
    if os.geteuid() != 0:
        raise Unavailable("its image is built as root")
    base = f"{tag}-base"
    with tempfile.TemporaryDirectory(prefix="neo4j-image-") as name:
        folder = Path(name)
        report("fetching the Java archives of Neo4j")
        command = ["mvn", "--quiet", "--batch-mode", "--file", str(INPUTS / "pom.xml")]
        options = ["-DincludeScope=runtime", f"-DoutputDirectory={folder / 'lib'}"]
        _run([*command, "dependency:copy-dependencies", *options])
        report(f"bootstrapping Debian {SUITE} with a Java runtime")
        _bootstrap(folder / "base.tar")
        with (folder / "base.tar").open("rb") as stream:
            repository, _, version = base.partition(":")
            engine.api.import_image(src=stream, repository=repository, tag=version)
        report(f"building {tag}")
        files = {path.name: path.read_bytes() for path in INPUTS.iterdir()}
        files |= {f"lib/{path.name}": path.read_bytes() for path in (folder / "lib").iterdir()}
        arguments = {"BASE": base}
        engine.images.build(
            fileobj=context(files), custom_context=True, tag=tag, buildargs=arguments, rm=True,
            forcerm=True, network_mode="none",
        )  # fmt: skip
    engine.images.remove(base)


def _bootstrap(tarball: Path) -> None:
    options = [
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        # The package of the runtime puts links there.
        '--essential-hook=mkdir -p "$1/usr/share/man/man1"',
        '--customize-hook=rm -f "$1/etc/hostname" "$1/etc/resolv.conf"',
        f"--include={','.join(PACKAGES)}",
    ]
    _run(["mmdebstrap", "--quiet", "--variant=minbase", *options, SUITE, str(tarball)])


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=STEP_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{command[0]} does not finish") from error
    if done.returncode:
        detail = (done.stderr + done.stdout).strip()[-800:]
        raise Unavailable(f"{command[0]} failed: {detail}")
