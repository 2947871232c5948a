"""Throw-away sandboxes of a group, for work that no sandbox of a user is to do or to see."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

from sandbox_sdk.models import Principal

if TYPE_CHECKING:
    from container_runtime.spec import ComputeResources
    from sandbox_sdk.databases.access import Access
    from sandbox_sdk.egress.policy import EgressPolicy
    from sandbox_sdk.members import Members
    from sandbox_sdk.sandbox import Sandbox

WORKSHOP = Principal.model_construct(subject="workshop", kind="local")
"""Owns them. No caller has this name, so nobody else finds one."""

Workshop = Callable[["EgressPolicy | None"], AbstractAsyncContextManager["Sandbox"]]
"""A started sandbox under that policy (the group's if None), which ends with the block."""


def workshop(
    members: "Members", resources: "ComputeResources", no_databases: "dict[str, Access]"
) -> Workshop:
    """Makes them with the group's own limits and without its databases."""

    @asynccontextmanager
    async def opened(policy: "EgressPolicy | None") -> "AsyncIterator[Sandbox]":
        sandbox = await members.create(
            None,
            principal=WORKSHOP,
            resources=resources,
            database_access=no_databases,
            egress_policy=policy,
        )
        async with sandbox:
            yield sandbox

    return opened
