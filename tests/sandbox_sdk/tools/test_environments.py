"""Packages of custom tools: real uv, real proxy, an index of our own."""

import asyncio
import os
import stat
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from container_runtime.engine import Engine, load_engine
from container_runtime.engines.in_process import InProcessEngine
from container_runtime.spec import Layout
from sandbox_sdk import ComputeResources, ConfigurationError, Sandbox, SandboxGroup
from sandbox_sdk.egress.policy import EgressPolicy
from sandbox_sdk.tools.environments import Environments, pinned
from sandbox_sdk.tools.models import Environment
from tests.fakes import eventually
from tests.sandbox_sdk.tools.index import PackageIndex
from tests.services.web import Web
from tool_plugins.errors import ErrorCode, ToolError

TIMEOUT_S = 60.0
EVIL = """
from urllib.request import urlopen
urlopen("{url}")
def build_wheel(*_): urlopen("{url}")
def prepare_metadata_for_build_wheel(*_): urlopen("{url}")
def get_requires_for_build_wheel(*_): urlopen("{url}")
"""


class Installer:
    """Environments of a group, with what they leave on the host and the sandboxes they open."""

    def __init__(self, group: SandboxGroup, engine: Engine, state_dir: Path, url: str) -> None:
        self.packages = engine.layout("any").packages
        self.opened = 0
        self.ends_early = False
        self.resources: ComputeResources | None = None
        self._group = group
        self._engine = engine
        self._folder = state_dir / "installer"
        self._url = url
        self.environments = self.another()

    def another(self, folder: Path | None = None, *, index: str | None = None) -> Environments:
        """Those of another server, on the same installation unless there is a folder."""
        return Environments(
            self._engine, folder or self._folder, self._workshop, index=index or self._url
        )

    async def ensure(self, *requirements: str, policy: EgressPolicy | None) -> Environment:
        return await self.environments.ensure(requirements, policy, timeout_s=TIMEOUT_S)

    def left(self) -> list[str]:
        """What lies in the folder that sandboxes see."""
        assert self.packages is not None
        return sorted(os.listdir(self.packages)) if self.packages.exists() else []

    @asynccontextmanager
    async def _workshop(self, policy: EgressPolicy | None) -> AsyncIterator[Sandbox]:
        self.opened += 1
        sandbox = await self._group.create_sandbox(
            egress_policy=policy, compute_resources=self.resources
        )
        async with sandbox:
            if self.ends_early:
                await sandbox.end()
            yield sandbox


@pytest.fixture
def index(web: Web) -> PackageIndex:
    served = PackageIndex(web)
    served.wheel("cow", needs=["kettle>=1"])
    served.wheel("kettle")
    return served


@pytest.fixture
async def installer(
    engine_name: str, state_dir: Path, index: PackageIndex
) -> AsyncIterator[Installer]:
    engine = load_engine(engine_name, state_dir=state_dir)
    async with SandboxGroup(
        engine=engine, state_dir=state_dir, egress_policy=index.policy
    ) as group:
        yield Installer(group, engine, state_dir, index.url)


@pytest.fixture
async def sandbox(installer: Installer) -> AsyncIterator[Sandbox]:
    async with await installer._group.create_sandbox() as started:
        yield started


on_docker = pytest.mark.parametrize(
    "engine_name", [pytest.param("docker", marks=pytest.mark.docker)], indirect=True
)


async def refusal(
    installer: Installer, *requirements: str, policy: EgressPolicy | None
) -> ToolError:
    """Why it cannot be installed; checks that nothing is left of the attempt."""
    with pytest.raises(ToolError) as refused:
        await installer.ensure(*requirements, policy=policy)
    assert refused.value.code is ErrorCode.DEPENDENCY_ERROR
    assert installer.left() == []
    return refused.value


async def test_packages_with_what_they_need_can_be_imported(
    installer: Installer, index: PackageIndex, sandbox: Sandbox
) -> None:
    made = await installer.ensure("cow", policy=index.policy)
    python = installer._engine.layout(sandbox.id).python
    program = f"import sys; sys.path[:0] = [{made.path!r}]; import cow, kettle; print(cow, kettle)"
    done = await sandbox.terminal.run(f'{python} -IBc "{program}"')
    assert done.stderr == ""
    assert f"{made.path}/cow/__init__.py" in done.stdout
    assert f"{made.path}/kettle/__init__.py" in done.stdout
    assert installer.left() == [made.key]


@on_docker
async def test_same_inputs_need_neither_network_nor_sandbox_again(
    installer: Installer, index: PackageIndex
) -> None:
    made = await installer.ensure("cow>=1", "kettle", policy=index.policy)
    index.web.seen.clear()
    later = installer.another()
    for wanted in (["Kettle", "cow >= 1"], ["cow>=1", "kettle", "kettle"]):
        assert await later.ensure(wanted, index.policy, timeout_s=TIMEOUT_S) == made
    assert (index.seen, installer.opened) == ([], 1)
    assert await later.renew(made)


async def test_other_inputs_have_a_key_of_their_own(
    installer: Installer, index: PackageIndex, tmp_path: Path
) -> None:
    plain = await installer.ensure("kettle", policy=index.policy)
    narrow = index.policy.model_copy(update={"robots": True})
    stranger = installer.another(tmp_path / "another")
    elsewhere = installer.another(index=index.web.url("/simple"))
    keys = {
        plain.key,
        (await installer.ensure("kettle", policy=narrow)).key,
        (await installer.ensure("kettle>=1", policy=index.policy)).key,
        (await stranger.ensure(["kettle"], index.policy, timeout_s=TIMEOUT_S)).key,
        (await elsewhere.ensure(["kettle"], index.policy, timeout_s=TIMEOUT_S)).key,
    }
    assert len(keys) == 5
    assert installer.left() == sorted(keys)


async def test_callers_at_once_build_once(installer: Installer, index: PackageIndex) -> None:
    servers = [installer.environments, installer.environments, installer.another()]
    made = await asyncio.gather(
        *(each.ensure(["cow"], index.policy, timeout_s=TIMEOUT_S) for each in servers)
    )
    assert len(set(made)) == 1
    assert installer.opened == 1
    assert installer.left() == [made[0].key]


@on_docker
async def test_name_with_a_typo_is_told(installer: Installer, index: PackageIndex) -> None:
    error = await refusal(installer, "cow", "kettel", policy=index.policy)
    assert error.message.startswith("cannot install kettel: there is no such package\n")
    assert "kettel was not found in the package registry" in error.message
    assert error.hint == "check how it is spelled"
    assert error.details["packages"] == ["kettel"]


@on_docker
async def test_source_distribution_is_refused_and_its_code_not_run(
    installer: Installer, index: PackageIndex
) -> None:
    index.source("barn", EVIL.format(url=index.web.url("/ran")))
    index.wheel("farm", needs=["barn"])
    error = await refusal(installer, "farm", policy=index.policy)
    assert error.details["packages"] == ["barn"]
    assert "has no wheel" in error.message
    assert "/simple/barn/" in index.seen
    assert "/ran" not in index.seen


async def test_without_a_network_there_is_nothing_to_try(installer: Installer) -> None:
    error = await refusal(installer, "cow", policy=None)
    assert error.message == "cannot install cow: the sandbox has no network"
    assert "egress_policy" in error.hint
    assert installer.opened == 0


@on_docker
async def test_host_that_the_policy_denies_is_named(
    installer: Installer, index: PackageIndex
) -> None:
    index.link("barn", index.web.url("/files", host="evil.test", tls=True))
    error = await refusal(installer, "barn", policy=index.policy)
    host = f"evil.test:{index.web.tls_port}"
    assert error.details == {"packages": ["barn"], "hosts": [host]}
    assert f"the egress policy refused {host}" in error.message


@on_docker
async def test_index_that_does_not_answer_is_told(
    installer: Installer, index: PackageIndex
) -> None:
    policy = index.policy.model_copy(update={"allow": EgressPolicy(allow=("site.test:1",)).allow})
    installer.environments = installer.another(index="https://site.test:1/simple")
    error = await refusal(installer, "cow", policy=policy)
    assert "cannot install cow: site.test:1 cannot be reached" in error.message


@on_docker
async def test_package_that_would_break_a_tools_own_process_is_refused(
    installer: Installer, index: PackageIndex
) -> None:
    index.wheel("old", needs=["pydantic<2"])
    error = await refusal(installer, "old", policy=index.policy)
    pin = next(each for each in pinned() if each.startswith("pydantic=="))
    assert f"cannot install pydantic: custom tools run beside {pin}\n" in error.message


@on_docker
async def test_packages_larger_than_the_disk_are_refused(
    installer: Installer, index: PackageIndex
) -> None:
    index.wheel("huge", data=bytes(64 * 1024**2))
    installer.resources = ComputeResources(disk_mb=32)
    error = await refusal(installer, "huge", policy=index.policy)
    assert "more than the disk of a sandbox" in error.message


@on_docker
async def test_agent_can_neither_change_nor_list_nor_find_packages(
    installer: Installer, index: PackageIndex, sandbox: Sandbox
) -> None:
    mine = await installer.ensure("cow", policy=index.policy)
    other = await installer.ensure("kettle", policy=index.policy)
    done = await sandbox.terminal.run(
        f"cd {mine.path} && for each in . cow cow/__init__.py cow/__pycache__/*; do "
        "test -r $each || echo cannot read $each; "
        "chmod u+w $each && echo changed; test -w $each && echo may write; done; "
        "touch new cow/new && echo made; rm -rf cow/* && echo removed; "
        f"ls /opt/environments; find /opt -name {other.key}; mount -o remount,rw /opt/environments"
    )
    assert done.stdout == ""
    assert done.stderr.count("Read-only file system") >= 6
    assert "cannot open directory '/opt/environments'" in done.stderr


@on_docker
async def test_on_the_host_nobody_may_change_packages(
    installer: Installer, index: PackageIndex, state_dir: Path
) -> None:
    index.wheel("tea", **{"run.sh": b"#!/bin/sh\n"})
    made = await installer.ensure("tea", policy=index.policy)
    assert installer.packages is not None
    found = [installer.packages / made.key, *(installer.packages / made.key).rglob("*")]
    assert {each.suffix for each in found} >= {".py", ".pyc", ".sh"}
    for each in found:
        status = each.lstat()
        assert stat.S_IMODE(status.st_mode) & 0o222 == 0, each
        assert (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid())
    assert stat.S_IMODE(installer.packages.stat().st_mode) == 0o711
    assert stat.S_IMODE((state_dir / "installer" / "secret").stat().st_mode) == 0o600


async def test_installing_that_is_cancelled_leaves_nothing(
    installer: Installer, index: PackageIndex
) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        go_on.wait(TIMEOUT_S)

    index.held("slow", hold)
    installing = asyncio.create_task(installer.ensure("slow", policy=index.policy))
    await asyncio.to_thread(asked.wait, TIMEOUT_S)
    assert installer.left() != []
    installing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await installing
    go_on.set()
    assert installer.left() == []
    await eventually(lambda: _ended(installer))


async def _ended(installer: Installer) -> bool:
    return await installer._group.list_sandboxes() == []


async def test_time_that_is_over_is_told(installer: Installer, index: PackageIndex) -> None:
    go_on = threading.Event()
    index.held("slow", lambda: bool(go_on.wait(TIMEOUT_S)))
    with pytest.raises(ToolError, match=r"cannot install slow: it took longer than 0\.5 s"):
        await installer.environments.ensure(["slow"], index.policy, timeout_s=0.5)
    go_on.set()
    assert installer.left() == []


async def test_failure_of_the_workshop_is_not_that_of_the_callers_sandbox(
    installer: Installer, index: PackageIndex
) -> None:
    installer.ends_early = True
    error = await refusal(installer, "cow", policy=index.policy)
    assert "cannot install cow" in error.message
    assert "is gone: it was ended" in error.message


class Distant(InProcessEngine):
    """Shares no folder with its containers."""

    def layout(self, name: str) -> Layout:
        near = super().layout(name)
        return Layout(near.workspace, near.run, None, near.environments, None, near.python)


async def test_engine_that_shares_no_folder_has_no_packages(
    state_dir: Path, tmp_path: Path, index: PackageIndex
) -> None:
    def none(_policy: object) -> None:
        raise AssertionError("nothing is to be installed")

    workshop: Callable[..., object] = none
    distant = Environments(Distant(state_dir=state_dir), tmp_path, workshop)  # type: ignore[arg-type]
    with pytest.raises(ToolError, match="shares no folder"):
        await distant.ensure(["cow"], index.policy, timeout_s=TIMEOUT_S)


@pytest.mark.parametrize(
    "url", ["index.example", "file:///srv/simple", "https://", "https://a\nb", "https://["]
)
def test_index_that_is_no_url_is_refused(url: str, state_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no URL of HTTP"):
        Environments(InProcessEngine(state_dir=state_dir), tmp_path, None, index=url)  # type: ignore[arg-type]
