"""Fixtures of the tests that need a Docker Engine."""

import docker
import pytest
from docker.errors import DockerException


@pytest.fixture(scope="session")
def needs_docker() -> None:
    """Skips where no Docker Engine answers."""
    try:
        client = docker.from_env()
        client.ping()
        client.close()
    except DockerException as error:
        pytest.skip(f"no Docker Engine: {error}")
