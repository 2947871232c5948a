"""A proxy on a real socket for each test, and a way to it for ordinary programs."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox_sdk.egress.policy import EgressPolicy
from sandbox_sdk.egress.proxy import EgressProxy
from sandbox_sdk.egress.resolver import Resolver
from tests.sandbox_sdk.egress.client import Forwarder
from tests.services.web import Web


@pytest.fixture
async def resolver() -> AsyncIterator[Resolver]:
    """The real one."""
    started = Resolver()
    yield started
    await started.aclose()


@pytest.fixture
def policy(web: Web) -> Callable[..., EgressPolicy]:
    """The policy under which site.test and other.test can be reached, with changes."""
    return lambda **changes: EgressPolicy(**web.policy(**changes))


@pytest.fixture
def socket_path(state_dir: Path) -> Path:
    """Where the proxy of a test listens."""
    return state_dir / "egress" / "egress.sock"


@pytest.fixture
async def proxy(
    policy: Callable[..., EgressPolicy], resolver: Resolver, socket_path: Path
) -> AsyncIterator[EgressProxy]:
    """A listening proxy."""
    started = EgressProxy(policy(), resolver, name="sandbox-1")
    await started.listen(socket_path)
    yield started
    await started.aclose()


@pytest.fixture
async def forwarder(proxy: EgressProxy, socket_path: Path) -> AsyncIterator[Any]:
    """The proxy as a TCP port, as programs in a sandbox find it."""
    async with Forwarder(socket_path) as started:
        yield started
