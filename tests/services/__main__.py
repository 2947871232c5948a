"""Starts database servers for a developer to work with, and says where they are.

    python -m tests.services           start what is not running
    python -m tests.services stop      end all of it; the data stays
    python -m tests.services images    build what tests run from an image of their own

PostgreSQL is started from what is installed, with its data in `.cache/services`; Qdrant and Neo4j
by `docker compose`, from the public images, or for Neo4j from the one of the tests. What cannot be
had is named with the reason.
"""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote

import docker
import yaml
from docker.errors import DockerException, ImageNotFound

from .neo4j import Unavailable
from .neo4j import image as neo4j_test_image
from .postgres import PostgresServer, find_binaries, free_port

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".cache" / "services"
FAR_FOLDER = Path("/var/lib/sandbox-sdk-services/postgres")
COMPOSE_FILE = ROOT / "compose.yaml"
IN_CONTAINERS = ("qdrant", "neo4j")
POSTGRES_PORT = 5432
# Data that lasts, unlike that of tests. Over TCP alone, since the path of a socket may be too long.
POSTGRES_SETTINGS = {"fsync": "on", "max_connections": "100", "unix_socket_directories": "''"}
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")
HEALTHY_TIMEOUT_S = 120


def say(text: str) -> None:
    """Prints one line of progress at once."""
    print(f"==> {text}", flush=True)


def start_postgres(folder: Path, *, port: int = POSTGRES_PORT) -> dict[str, str]:
    """Starts PostgreSQL unless it runs; on another port if that one is taken. Returns exports."""
    if find_binaries() is None:
        raise Unavailable("no server is installed")
    server = PostgresServer(folder, settings=POSTGRES_SETTINGS).create()
    if running := server.running_port():
        server.port = running
    else:
        server.port = port if _is_free(port) else free_port()
        server.start()
        if server.port != port:
            say(f"port {port} is taken, so PostgreSQL listens on {server.port}")
    return {"POSTGRES_URL": server.url}


def stop_postgres(folder: Path) -> None:
    """Ends PostgreSQL if it runs."""
    if find_binaries() is None:
        return
    server = PostgresServer(folder)
    if server.running():
        server.stop()
        say("PostgreSQL has ended")


def postgres_folder() -> Path:
    """Where its data lies: below the checkout, if the user that it runs as can get there."""
    if os.geteuid() == 0 and any(not each.stat().st_mode & 0o001 for each in (ROOT, *ROOT.parents)):
        return FAR_FOLDER
    return FOLDER / "postgres"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server sets it
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def start_container(service: str) -> dict[str, str]:
    """Starts one service of compose.yaml and waits until it is healthy; returns what to export."""
    compose = compose_command()
    if compose is None:
        package = "docker-compose-plugin, or docker-compose"
        raise Unavailable(f"docker compose is not installed (package {package})")
    try:
        with closing(docker.from_env()) as engine:
            image = {f"{service.upper()}_IMAGE": _image(engine, service)}
            done = _run([*compose, "up", "--detach", service], image)
            if done.returncode:
                raise Unavailable(done.stderr.strip().splitlines()[-1])
            name = _run([*compose, "ps", "--quiet", service]).stdout.strip()
            _wait_until_healthy(engine, name)
    except DockerException as error:
        raise Unavailable(f"the Docker Engine says: {_reason(error)}") from error
    return exports(service)


def stop_containers() -> None:
    """Ends what `start_container` started; the volumes stay."""
    compose = compose_command()
    if compose is not None and _run([*compose, "ps", "--quiet"]).stdout.strip():
        _run([*compose, "down"])
        say("the containers have ended")


def compose_command() -> list[str] | None:
    """How to call `docker compose` here: the plugin, or the program there was before it."""
    options = ["--project-name", "sandbox-sdk", "--file", str(COMPOSE_FILE)]
    if shutil.which("docker") and _run(["docker", "compose", "version"]).returncode == 0:
        return ["docker", "compose", *options]
    return ["docker-compose", *options] if shutil.which("docker-compose") else None


def exports(service: str) -> dict[str, str]:
    """The variables that lead to a service, with the credentials that compose.yaml gives it."""
    if service == "qdrant":
        key = setting(service, "environment", "QDRANT__SERVICE__API_KEY")
        return {"QDRANT_URL": "http://127.0.0.1:6333", "QDRANT_API_KEY": key}
    user, _, password = setting(service, "environment", "NEO4J_AUTH").partition("/")
    return {"NEO4J_URL": f"bolt://{user}:{quote(password, safe='')}@127.0.0.1:7687"}


def setting(service: str, *path: str) -> str:
    """A text of compose.yaml, its variable filled in as `docker compose` does."""
    found = yaml.safe_load(COMPOSE_FILE.read_text("utf-8"))["services"][service]
    for name in path:
        found = found[name]
    return VARIABLE.sub(lambda match: os.environ.get(match[1]) or match[2], found)


def _image(engine: docker.DockerClient, service: str) -> str:
    """The name of the service's image, which is then there."""
    image = setting(service, "image")
    with suppress(ImageNotFound):
        engine.images.get(image)
        return image
    say(f"fetching the image {image}; this may take minutes")
    try:
        engine.images.pull(image)
    except DockerException as error:
        if service != "neo4j":
            raise
        say(f"{image} cannot be had ({_reason(error)}), so it is the image of the tests")
        return neo4j_test_image(say)
    return image


def _reason(error: DockerException) -> str:
    return str(getattr(error, "explanation", None) or error)


def _wait_until_healthy(engine: docker.DockerClient, name: str) -> None:
    deadline = time.monotonic() + HEALTHY_TIMEOUT_S
    while (state := engine.containers.get(name).attrs["State"])["Health"]["Status"] != "healthy":
        if state["Status"] != "running":
            raise Unavailable(f"its container is {state['Status']}; see: docker logs {name[:12]}")
        if time.monotonic() > deadline:
            raise Unavailable(f"it does not become healthy; see: docker logs {name[:12]}")
        time.sleep(0.5)


def _run(
    command: list[str], variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **(variables or {})}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        env=environment,
    )  # fmt: skip


def start() -> int:
    """Starts everything that can be had here."""
    steps = {"PostgreSQL": partial(start_postgres, postgres_folder())} | {
        service.capitalize(): partial(start_container, service) for service in IN_CONTAINERS
    }
    found: dict[str, str] = {}
    for name, step in steps.items():
        try:
            found |= step()
        except Unavailable as error:
            say(f"{name} cannot be had here: {error}")
        else:
            say(f"{name} runs")
    for variable, value in found.items():
        print(f"export {variable}={shlex.quote(value)}")
    return 0 if found else 1


def build_images() -> int:
    """Builds the images of the tests. Tests that need one that cannot be had are skipped."""
    try:
        say(f"the image {neo4j_test_image(say)} is there")
    except Unavailable as error:
        say(f"no Neo4j for tests: {error}")
    return 0


def main() -> int:
    """Reads the command line."""
    match sys.argv[1:]:
        case []:
            return start()
        case ["stop"]:
            stop_postgres(postgres_folder())
            stop_containers()
            return 0
        case ["images"]:
            return build_images()
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())
