"""What brings database servers: the packages, `make services`, compose.yaml."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from sandbox_sdk.databases.access import NEO4J_IMAGE
from tests.documents import ROOT
from tests.services.__main__ import (
    COMPOSE_FILE,
    Unavailable,
    compose_command,
    exports,
    find_binaries,
    setting,
    start_container,
    start_postgres,
    stop_postgres,
)

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE_FILE.read_text())["services"]
PORTS = {"postgres": [5432], "qdrant": [6333, 6334], "neo4j": [7474, 7687]}


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where a server keeps its data; reachable for the user that it runs as."""
    path = Path(tempfile.mkdtemp(prefix="services-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def packages(*groups: str, path: Path) -> subprocess.CompletedProcess[str]:
    """What the installer says where only the programs of that folder are on the path."""
    return subprocess.run(
        [sys.executable, ROOT / ".ci" / "packages.py", *groups],
        env={"PATH": str(path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_where_nothing_can_be_installed_it_says_what_to_do_and_goes_on(tmp_path: Path) -> None:
    done = packages("neo4j", path=tmp_path)
    assert "apt-get install -y --no-install-recommends maven mmdebstrap" in done.stdout
    assert done.returncode == 0


def test_where_everything_is_there_it_says_nothing(tmp_path: Path) -> None:
    for name in ("mvn", "mmdebstrap"):
        (tmp_path / name).touch(mode=0o755)
    done = packages("neo4j", path=tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_only_what_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "mvn").touch(mode=0o755)
    assert "recommends mmdebstrap\n" in packages("neo4j", path=tmp_path).stdout


def test_a_group_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    done = packages("oracle", path=tmp_path)
    assert done.returncode == 2
    assert "groups: postgres, neo4j" in done.stderr


def make(*arguments: str) -> str:
    """What `make` prints."""
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=True,
        env={name: text for name, text in os.environ.items() if not name.startswith("MAKE")},
    ).stdout  # fmt: skip


def test_every_target_is_listed_by_help() -> None:
    found = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found is not None
    targets = set(found[1].split()) - {"help"}
    assert {"services", "test", "demo", "bench"} <= targets
    assert targets == set(re.findall(r"^  make (\w+)", make("help"), re.MULTILINE)) - {"help"}


def test_the_tests_get_their_servers_before_they_run() -> None:
    steps = make("--dry-run", "test")
    order = [
        steps.index(step) for step in ("packages.py postgres neo4j", "services images", "tests.sh")
    ]
    assert order == sorted(order)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_listens_on_loopback_alone(service: str) -> None:
    ports = [str(port).split(":") for port in SERVICES[service]["ports"]]
    assert {port[0] for port in ports} == {"127.0.0.1"}
    assert [int(port[-1]) for port in ports] == PORTS[service]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_a_health_check_a_volume_and_a_version(service: str) -> None:
    description = SERVICES[service]
    declared = yaml.safe_load(COMPOSE_FILE.read_text())["volumes"]
    assert description["healthcheck"]["test"][0] == "CMD"
    assert {volume.split(":")[0] for volume in description["volumes"]} == {service}
    assert service in declared
    assert re.search(r":v?\d+", setting(service, "image"))


def test_the_images_are_those_the_project_is_made_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for service in SERVICES:
        monkeypatch.delenv(f"{service.upper()}_IMAGE", raising=False)
    assert setting("neo4j", "image") == NEO4J_IMAGE
    # Client and server of Qdrant may be one minor version apart.
    server = re.findall(r"\d+", setting("qdrant", "image"))
    client = version("qdrant-client").split(".")
    assert server[0] == client[0]
    assert abs(int(server[1]) - int(client[1])) <= 1


def test_a_password_is_the_one_for_development_unless_a_variable_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NEO4J_PASSWORD", raising=False)
    assert exports("neo4j") == {"NEO4J_URL": "bolt://neo4j:development@127.0.0.1:7687"}
    monkeypatch.setenv("NEO4J_PASSWORD", "its own/one")
    assert exports("neo4j") == {"NEO4J_URL": "bolt://neo4j:its%20own%2Fone@127.0.0.1:7687"}


def test_the_key_of_qdrant_is_long_enough_to_sign_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QDRANT_API_KEY", raising=False)
    assert len(exports("qdrant")["QDRANT_API_KEY"].encode()) >= 32
    assert setting("qdrant", "environment", "QDRANT__SERVICE__JWT_RBAC") == "true"


@pytest.mark.parametrize(
    ("service", "port", "path"), [("qdrant", 6333, "/readyz"), ("neo4j", 7474, "/")]
)
@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False), (None, False)])
def test_a_health_check_asks_whether_the_server_is_ready(
    service: str, port: int, path: str, status: int | None, healthy: bool
) -> None:
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status or 0)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        free = server.server_port
        if status is None:
            server.server_close()
        else:
            threading.Thread(target=server.handle_request, daemon=True).start()
        command = [
            part.replace(str(port), str(free)).replace("$$", "$")
            for part in SERVICES[service]["healthcheck"]["test"][1:]
        ]
        done = subprocess.run(command, capture_output=True, check=False, timeout=10)
    assert (done.returncode == 0) == healthy
    assert asked == ([path] if status else [])


def test_docker_compose_understands_the_file() -> None:
    command = compose_command()
    if command is None:
        pytest.skip("docker compose is not installed")
    done = subprocess.run([*command, "config"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) == set(SERVICES)


def test_without_docker_compose_the_reason_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="docker compose is not installed"):
        start_container("qdrant")


def test_postgres_is_started_once_keeps_its_data_and_ends(folder: Path) -> None:
    if find_binaries() is None:
        pytest.skip("no PostgreSQL server: install the package postgresql")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        first = start_postgres(folder / "postgres", port=port)
        try:
            url = first["POSTGRES_URL"]
            assert f":{port}/" not in url
            assert start_postgres(folder / "postgres", port=port) == first
            with closing(psycopg.connect(url, autocommit=True)) as connection:
                connection.execute("CREATE TABLE kept AS SELECT 7 AS seven")
            stop_postgres(folder / "postgres")
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(url)
            again = start_postgres(folder / "postgres", port=port)
            with closing(psycopg.connect(again["POSTGRES_URL"])) as connection:
                assert connection.execute("SELECT seven FROM kept").fetchone() == (7,)
        finally:
            stop_postgres(folder / "postgres")
