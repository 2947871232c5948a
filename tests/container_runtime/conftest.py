"""Fixtures of the tests that need a Docker Engine."""

import docker
import pytest
from docker.errors import DockerException

from tests.container_runtime.serving import connection, server, tcp_server, workspace

__all__ = ("connection", "needs_docker", "server", "tcp_server", "workspace")


@pytest.fixture(scope="session")
def needs_docker() -> None:
    """Skips where no Docker Engine answers."""
    try:
        client = docker.from_env()
        client.ping()
        client.close()
    except DockerException as error:
        pytest.skip(f"no Docker Engine: {error}")
