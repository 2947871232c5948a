"""Fixtures of tests that run Neo4j. A conftest imports what it needs from here."""

import pytest

from .neo4j import Unavailable, image


@pytest.fixture(scope="session")
def neo4j_image() -> str:
    """The name of an image that runs Neo4j Community, built where it is missing."""
    try:
        return image(print)
    except Unavailable as error:
        pytest.skip(f"no Neo4j: {error}")
