"""The packages that custom tools declare, as one sandbox, or the group, may install them."""

import asyncio
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tool_plugins.errors import ConfigurationError, ErrorCode, ToolError

from .models import Environment, Version

if TYPE_CHECKING:
    from sandbox_sdk.egress.policy import EgressPolicy

    from .environments import Environments

INSTALL_AGAIN_S = 300.0
RENEW_S = 3600.0
"""Asked for so often, packages in use never look as if nobody needed them (`depot.DAY_S`)."""


def check_index(url: str | None) -> str | None:
    """The URL of a package index, if it is one.

    Raises:
        ConfigurationError: it is no URL of HTTP.
    """
    try:
        parts = urlsplit(url or "")
    except ValueError:  # its host is no address
        parts = urlsplit("")
    if url is None or (parts.scheme in ("https", "http") and parts.hostname and url.isprintable()):
        return url
    raise ConfigurationError(
        "the package index is no URL of HTTP", hint="such as https://index.example/simple"
    )


class Packages:
    """Installs under the policy that holds when it is asked to."""

    def __init__(
        self,
        environments: "Callable[[], Environments]",
        policy: "Callable[[], EgressPolicy | None]",
    ) -> None:
        self._environments = environments
        self._policy = policy
        self._kept: dict[str, float] = {}

    async def install(self, requirements: tuple[str, ...], timeout_s: float) -> Environment:
        """A folder with the packages.

        Raises:
            ToolError: DEPENDENCY_ERROR names what cannot be had, and why.
        """
        return await self._environments().ensure(requirements, self._policy(), timeout_s=timeout_s)

    async def keep(self, version: Version) -> None:
        """Sees to it that a version's packages are still there. Those nobody uses for long go.

        Raises:
            ToolError: DEPENDENCY_ERROR, they are gone and cannot be had again.
        """
        environment, now = version.environment, asyncio.get_running_loop().time()
        if environment is None or now < self._kept.get(environment.key, -inf) + RENEW_S:
            return
        if await self._environments().renew(environment):
            self._kept[environment.key] = now
            return
        again = await self.install(version.dependencies, INSTALL_AGAIN_S)
        if again != environment:
            raise ToolError(
                ErrorCode.DEPENDENCY_ERROR,
                f"the packages of {version.source.namespace}.py are gone, and the sandbox may "
                "reach other hosts now than when they were installed",
                hint="register the file again",
            )
