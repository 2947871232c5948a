"""The flavour with a browser, in real sandboxes."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from container_runtime.engines.docker_client import DockerClient
from container_runtime.image.build import exists
from container_runtime.image.inputs import DEFAULT_BASE, browser_base_tag
from sandbox_sdk import ComputeResources, Sandbox, SandboxGroup
from tests.services.web import Web

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(300)]

PAGE = "<title>Site</title><h1>Hello</h1><button onclick='document.title = 1'>Press</button>"


@pytest.fixture
async def needs_flavour(needs_docker: None) -> None:
    """Skips where the flavour was never built: its base is a download of 170 MB."""
    client = DockerClient()
    await client.open()
    try:
        if not await exists(client, browser_base_tag(DEFAULT_BASE)):
            pytest.skip("no image with a browser: `sandbox-mcp image build --browser`")
    finally:
        await client.aclose()


@pytest.fixture
async def group(
    needs_flavour: None, web: Web, docker_state_dir: Path
) -> AsyncIterator[SandboxGroup]:
    """A group whose sandboxes have a browser."""
    web.text("/", PAGE)
    policy = web.policy()
    async with SandboxGroup(
        browser=True, egress_policy=policy, state_dir=docker_state_dir
    ) as opened:
        yield opened


async def test_browser_works_in_a_hardened_sandbox(group: SandboxGroup, web: Web) -> None:
    sandbox: Sandbox
    async with await group.create_sandbox() as sandbox:  # with the limits that are the default
        for tls in (False, True):
            page = await sandbox.browser.open(web.url("/", tls=tls))
            assert (page.title, page.status) == ("Site", 200)
        users = await sandbox.terminal.run("ps -eo user:20,args | grep [c]hromium | cut -d' ' -f1")
        assert set(users.stdout.split()) == {"agent"}

        taken = await sandbox.execute("browser.screenshot", {"path": "page.png"})
        assert taken.error is None
        assert base64.b64decode(taken.attachments[0].data).startswith(b"\x89PNG")
        assert (await sandbox.filesystem.list(".")).entries[0].path == "page.png"

        denied = await sandbox.execute("browser.open", {"url": web.url("/", host="evil.test")})
        assert denied.error is not None
        assert denied.error.code == "EGRESS_DENIED"
        assert (await sandbox.browser.close()).closed
        left = await sandbox.terminal.run(
            "ps -eo stat,args | grep [c]hromium | grep -v ^Z; ls /tmp"
        )
        assert left.stdout == ""


async def test_server_in_the_sandbox_is_shown(group: SandboxGroup) -> None:
    async with await group.create_sandbox() as sandbox:
        await sandbox.terminal.run("mkdir site; echo '<title>Mine</title>' > site/index.html")
        serve = "python3 -m http.server 8000 --directory site"
        await sandbox.terminal.run(serve, background=True)
        ready = "for i in $(seq 50); do curl -s localhost:8000 && break; sleep 0.1; done"
        await sandbox.terminal.run(ready)
        assert (await sandbox.browser.open("http://localhost:8000/")).title == "Mine"


async def test_sandbox_that_is_too_small_is_told_so(group: SandboxGroup, web: Web) -> None:
    small = ComputeResources(memory_mb=256)
    async with await group.create_sandbox(compute_resources=small) as sandbox:
        refused = await sandbox.execute("browser.open", {"url": web.url("/")})
        assert refused.error is not None
        assert refused.error.code == "UNSUPPORTED"
        assert "memory_mb of at least 384; this one has 256" in refused.error.message


async def test_page_that_takes_all_memory_ends_the_browser_and_not_the_sandbox(
    group: SandboxGroup, web: Web
) -> None:
    web.text(
        "/eater", "<script>const a = []; for (;;) a.push(new Uint8Array(1e7).fill(1))</script>"
    )
    async with await group.create_sandbox() as sandbox:
        eaten = await sandbox.execute("browser.open", {"url": web.url("/eater"), "timeout_s": 40})
        assert eaten.error is not None
        assert (
            "crashed, most likely for want of memory (the sandbox has 512 MB)"
            in eaten.error.message
        )
        assert (await sandbox.browser.open(web.url("/"))).title == "Site"
