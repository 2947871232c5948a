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
        version = await self._define(connection, source, Deadline(timeout_s))
        built_in = self._registry.mcp_names()
        check_names(version.tools, built_in | dict(self._shelf.places(but=source.namespace)))
        return version

    def _check_namespace(self, source: Source) -> None:
        check_namespace(source.namespace, {each.name.partition(".")[0] for each in self._registry})
        for entry in self._shelf.entries():
            if entry.namespace == source.namespace and not self._shelf.may_replace(entry, source):
                raise ToolError(
                    ErrorCode.ALREADY_EXISTS,
                    f"the namespace {source.namespace!r} of {source.origin} is taken by "
                    f"{entry.origin}",
                    hint="choose another name for the file",
                )

    async def _define(self, connection: Connection, source: Source, deadline: Deadline) -> Version:
        report = await _describe(connection, source, None, deadline)
        environment = None
        if report.tools is None:
            environment = await self._packages.install(report.dependencies, deadline.left_s)
            report = await _describe(connection, source, environment, deadline)
        return Version(
            source=source,
            environment=environment,
            description=report.description,
            dependencies=report.dependencies,
            settings=report.settings,
            tools=report.tools or (),
            warnings=report.warnings,
        )


async def _describe(
    connection: Connection, source: Source, environment: Environment | None, deadline: Deadline
) -> Report:
    build = await inside.install(connection, source, environment)
    try:
        limit = min(DESCRIBE_TIMEOUT_S, deadline.left_s)
        raw = await inside.describe(connection, build, limit)
        # In a thread: a hostile report takes a second.
        return await asyncio.to_thread(read_report, raw, source)
    except BaseException as exc:
        with suppress(ToolError, TimeoutError, ConnectionLost):
            await inside.drop(connection, build)
        if isinstance(exc, ToolError):
            raise read_failure(exc) from exc
        raise
