"""From a source to a version: what the file says of itself is asked inside, and checked here."""

import asyncio
from contextlib import suppress

from container_runtime.connection import Connection, ConnectionLost
from sandbox_sdk.deadline import Deadline
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.registry import ToolRegistry

from . import inside
from .models import Environment, Source, Version
from .names import check_names, check_namespace
from .packages import Packages
from .reports import Report, read_failure, read_report
from .shelf import Shelf

DESCRIBE_TIMEOUT_S = 60.0


class Registrar:
    """Says which files may lie on a shelf. It does not put them there."""

    def __init__(self, shelf: Shelf, registry: ToolRegistry, packages: Packages) -> None:
        self._shelf = shelf
        self._registry = registry
        self._packages = packages

    async def admit(self, connection: Connection, source: Source, timeout_s: float) -> Version:
        """The version of a source that works and fits. What does not leaves nothing inside.

        Raises:
            ToolError: ALREADY_EXISTS, SCHEMA_ERROR, DEPENDENCY_ERROR, TIMEOUT and the like.
        """
        self._check_namespace(source)
        trial = _Trial(connection, source, Deadline(timeout_s))
        try:
            version = await self._define(trial)
            taken = self._registry.mcp_names() | dict(self._shelf.places(but=source.namespace))
            check_names(version.tools, taken)
            trial.keep(version)
        finally:
            await trial.tidy()
        return version

    def check(self, version: Version) -> None:
        """Refuses what an earlier server took, and what has the name of a built-in tool now.

        Raises:
            ToolError: ALREADY_EXISTS, naming both places.
        """
        check_namespace(version.source.namespace, self._prefixes())
        check_names(version.tools, self._registry.mcp_names())

    def _prefixes(self) -> set[str]:
        return {each.name.partition(".")[0] for each in self._registry}

    def _check_namespace(self, source: Source) -> None:
        check_namespace(source.namespace, self._prefixes())
        for entry in self._shelf.entries():
            if entry.namespace == source.namespace and not self._shelf.may_replace(entry, source):
                raise ToolError(
                    ErrorCode.ALREADY_EXISTS,
                    f"the namespace {source.namespace!r} of {source.origin} is taken by "
                    f"{entry.origin}",
                    hint="choose another name for the file",
                )

    async def _define(self, trial: "_Trial") -> Version:
        report = await trial.describe(None)
        environment = None
        if report.tools is None:
            left_s = trial.deadline.left_s
            environment = await self._packages.install(report.dependencies, left_s)
            report = await trial.describe(environment)
        return Version(
            source=trial.source,
            environment=environment,
            description=report.description,
            dependencies=report.dependencies,
            settings=report.settings,
            tools=report.tools or (),
            warnings=report.warnings,
        )


class _Trial:
    """What is installed inside while a source is looked at, and goes unless it is kept."""

    def __init__(self, connection: Connection, source: Source, deadline: Deadline) -> None:
        self.source = source
        self.deadline = deadline
        self._connection = connection
        self._builds: set[str] = set()

    async def describe(self, environment: Environment | None) -> Report:
        """What the file says of itself with these packages, checked."""
        build = await inside.install(self._connection, self.source, environment)
        self._builds.add(build)
        limit = min(DESCRIBE_TIMEOUT_S, self.deadline.left_s)
        try:
            raw = await inside.describe(self._connection, build, limit)
        except ToolError as exc:
            raise read_failure(exc) from exc
        # In a thread: a hostile report takes a second.
        return await asyncio.to_thread(read_report, raw, self.source)

    def keep(self, version: Version) -> None:
        """Lets the build of a version stay."""
        self._builds.discard(version.build)

    async def tidy(self) -> None:
        """Drops all others. What cannot be dropped costs memory and nothing else."""
        for build in self._builds:
            with suppress(ToolError, TimeoutError, ConnectionLost):
                await inside.drop(self._connection, build)
