"""Budgets of the way out: a download, a small request, and a hundred proxies that do nothing.

What is measured is curl's own clock: inside a sandbox, and inside a container of the same image and
size that has what a sandbox would have without a proxy, Docker's default network. Both read one
certificate only, because to read the world's takes curl longer than a request. The server is on
this machine and sends at the speed of a network, 2.5 Gbit/s. And as fast as memory, where what
counts is the processor: bytes then pass three sockets instead of one, with server, client and all
between them on the same cores.
"""

import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from container_runtime.spec import EGRESS_CA, RUN
from sandbox_sdk import Sandbox, SandboxGroup
from sandbox_sdk.egress.policy import EgressPolicy
from sandbox_sdk.egress.proxy import EgressProxy
from sandbox_sdk.egress.resolver import Resolver
from sandbox_sdk.models import ComputeResources
from tests.documents import ROOT

from .baseline import docker, image_of
from .budget import Row, fraction, milliseconds
from .download_server import LARGEST, NAME
from .measure import Sample

# The same for both; with two, what is measured is the way and not a quota of processor time.
RESOURCES = ComputeResources(cpus=2, memory_mb=512)
SCHEMES = ("http", "https")
DOWNLOADS = 20
SMALL_ROUNDS = 6
SMALL_REQUESTS = 50
SMALL_BYTES = 100
MIB = 2**20
DOWNLOAD_BUDGET = 1.15
# On two cores. With more of them it comes to less.
UNPACED_BUDGET = {"http": 3.0, "https": 2.0}
SMALL_BUDGET_MS = 2.0
# Three round trips: the tunnel, the greeting of TLS, the request.
THREE_TRIPS_BUDGET_MS = 3 * SMALL_BUDGET_MS
PROXIES = 100
MEMORY_BUDGET_MB = 1.0
OWN_CA = f"{RUN}/{EGRESS_CA}"
PLAIN = "curl on Docker's network"
WRITE_OUT = "%{time_total} %{size_download} %{http_code}\\n"


@dataclass(frozen=True, slots=True)
class Server:
    """The server everything is fetched from. `address` is this machine's on Docker's network."""

    address: str
    ports: tuple[int, ...]
    ca_file: Path

    def url(self, scheme: str, path: object, *, paced: bool = True) -> str:
        """Where so many bytes are."""
        port = self.ports[SCHEMES.index(scheme) + (0 if paced else 2)]
        return f"{scheme}://{NAME}:{port}/{path}"

    @property
    def policy(self) -> EgressPolicy:
        """What lets a sandbox reach it."""
        allow = [f"{NAME}:{','.join(map(str, self.ports))}"]
        limits = {"max_received_mb": None}
        fields = {
            "allow": allow,
            "hosts": {NAME: self.address},
            "limits": limits,
            "ca_file": self.ca_file,
        }
        return EgressPolicy.model_validate(fields)


async def rows(without: SandboxGroup) -> list[Row]:
    """Memory, downloads and small requests over both schemes; that group has no network."""
    with _server(await _address()) as server:
        found = [await _proxies(server)]
        async with (
            SandboxGroup(name="benchmarks-egress", egress_policy=server.policy) as group,
            await group.create_sandbox(compute_resources=RESOURCES) as sandbox,
        ):
            ours = Inside(sandbox)
            async with _beside(await image_of(sandbox.id), server) as plain:
                for scheme in SCHEMES:
                    found.append(await _download(scheme, ours, plain, server))
                    found.append(await _small(scheme, ours, plain, server))
                found.append(await _small("https", ours, plain, server, new=True))
                for scheme in SCHEMES:
                    found.append(await _download(scheme, ours, plain, server, paced=False))
            found.append(await _forwarder(group, without, server))
    return found


class Inside:
    """curl in a sandbox: through forwarder and proxy."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def curl(self, url: str, *options: str) -> list[float]:
        """The milliseconds of each transfer."""
        words = _words(url, "--cacert", OWN_CA, *options)
        done = await self._sandbox.terminal.run(" ".join(words))
        return _times(done.stdout)


class Beside:
    """curl in a container of the same image on Docker's default network: no proxy."""

    def __init__(self, name: str, server: Server) -> None:
        self._name = name
        self._names = [f"--resolve {NAME}:{port}:{server.address}" for port in server.ports]

    async def curl(self, url: str, *options: str) -> list[float]:
        """The milliseconds of each transfer."""
        words = _words(url, *self._names, "--cacert", "/ca.pem", *options)
        return _times(await docker("exec", self._name, "sh", "-c", " ".join(words)))


def _words(url: str, *options: str) -> list[str]:
    quoted = f"'{url}'"
    return ["curl", "-sS", *options, "-o", "/dev/null", "-w", f"'{WRITE_OUT}'", quoted]


def _times(said: str) -> list[float]:
    times = []
    for line in said.split("\n"):
        if line:
            seconds, _size, status = line.split()
            if status != "200":
                raise RuntimeError(f"a download failed with status {status}")
            times.append(float(seconds) * 1000)
    return times


async def _download(
    scheme: str, ours: Inside, plain: Beside, server: Server, *, paced: bool = True
) -> Row:
    url = server.url(scheme, LARGEST, paced=paced)
    subjects: list[float] = []
    baselines: list[float] = []
    for round_ in range(DOWNLOADS + 1):
        through, direct = await ours.curl(url), await plain.curl(url)
        if round_:
            subjects += through
            baselines += direct
    return fraction(
        f"{scheme}: 100 MB {'at 2.5 Gbit/s' if paced else 'as fast as memory'}",
        Sample(subjects),
        Sample(baselines),
        PLAIN,
        at_most=DOWNLOAD_BUDGET if paced else UNPACED_BUDGET[scheme],
    )


async def _small(
    scheme: str, ours: Inside, plain: Beside, server: Server, *, new: bool = False
) -> Row:
    """What the way adds to a small answer. curl keeps connections, where it may, but for `new`."""
    url = server.url(scheme, f"{SMALL_BYTES}?[1-{SMALL_REQUESTS}]")
    options = ("-H", "'Connection: close'") if new else ()
    subjects: list[float] = []
    baselines: list[float] = []
    for _ in range(SMALL_ROUNDS):
        subjects += await ours.curl(url, *options)
        baselines += await plain.curl(url, *options)
    through, direct = Sample(subjects), Sample(baselines)
    added, budget = through.p50 - direct.p50, THREE_TRIPS_BUDGET_MS if new else SMALL_BUDGET_MS
    return Row(
        what=f"{scheme}: a small request{', connection and all' if new else ''}",
        p50=milliseconds(through.p50),
        p99=milliseconds(through.p99),
        against=f"{PLAIN}: {milliseconds(direct.p50)}",
        ratio=f"+ {milliseconds(added)}",
        budget=f"+ <= {milliseconds(budget)}",
        reasons=(f"{added - budget:.1f} ms too slow",) if added > budget else (),
    )


async def _forwarder(group: SandboxGroup, without: SandboxGroup, server: Server) -> Row:
    """What an action server has of its own beyond one that forwards nothing."""
    async with await group.create_sandbox() as one, await without.create_sandbox() as other:
        await Inside(one).curl(server.url("https", SMALL_BYTES))
        await other.terminal.run("curl --version")
        more = (await _server_bytes(one) - await _server_bytes(other)) / MIB
    return _memory("the forwarder in a sandbox, used and idle", more, "a sandbox without")


async def _server_bytes(sandbox: Sandbox) -> int:
    listing = await docker("top", sandbox.id, "-eo", "pid,args")
    (pid,) = [line.split()[0] for line in listing.splitlines() if "python3 -IS /opt" in line
              and "tini" not in line]  # fmt: skip
    return psutil.Process(int(pid)).memory_full_info().uss


def _memory(what: str, used_mb: float, against: str) -> Row:
    over = f"{used_mb - MEMORY_BUDGET_MB:.1f} MB too much"
    return Row(
        what=what,
        p50=f"{used_mb * 1024:.0f} KB",
        p99="-",
        against=against,
        ratio="-",
        budget=f"<= {MEMORY_BUDGET_MB:.0f} MB",
        reasons=(over,) if used_mb > MEMORY_BUDGET_MB else (),
    )


async def _proxies(server: Server) -> Row:
    """What a proxy keeps that has served one request and now does nothing."""
    folder = Path(tempfile.mkdtemp(prefix="sbx-", dir="/tmp"))
    resolver = Resolver()
    proxies: list[EgressProxy] = []
    try:
        for number in range(PROXIES + 1):
            if number == 1:  # the first one paid for the modules
                before = _own_bytes()
            proxies.append(EgressProxy(server.policy, resolver, name=f"sbx-{number}"))
            path = folder / str(number) / "egress.sock"
            await proxies[-1].listen(path)
            await _ask(path, server)
        each = (_own_bytes() - before) / PROXIES / MIB
    finally:
        await asyncio.gather(*(proxy.aclose() for proxy in proxies))
        await resolver.aclose()
        shutil.rmtree(folder)
    return _memory(f"{PROXIES} proxies, used and idle, each", each, "one such proxy")


def _own_bytes() -> int:
    return psutil.Process().memory_full_info().uss


async def _ask(path: Path, server: Server) -> None:
    reader, writer = await asyncio.open_unix_connection(path)
    head = f"GET {server.url('http', SMALL_BYTES)} HTTP/1.1\r\nHost: {NAME}\r\n\r\n"
    writer.write(head.encode())
    if b"200 OK" not in await reader.read():
        raise RuntimeError("a proxy does not work")
    writer.close()
    await writer.wait_closed()


async def _address() -> str:
    template = "{{(index .IPAM.Config 0).Gateway}}"
    return await docker("network", "inspect", "bridge", "--format", template)


@contextmanager
def _server(address: str) -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="sbx-", dir="/tmp"))
    folder.chmod(0o755)
    command = [sys.executable, "-m", "tests.benchmarks.download_server", address, str(folder)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        with process:
            assert process.stdout is not None
            ports = tuple(map(int, process.stdout.readline().split()))
            yield Server(address, ports, folder / "ca.pem")
            process.communicate()
    finally:
        shutil.rmtree(folder)


@asynccontextmanager
async def _beside(image: str, server: Server) -> AsyncIterator[Beside]:
    limits = [f"--cpus={RESOURCES.cpus}", f"--memory={RESOURCES.memory_mb}m"]
    name = await docker(
        "run", "--detach", "--rm", "--network", "bridge", *limits,
        "--volume", f"{server.ca_file}:/ca.pem:ro", "--entrypoint", "sleep", image, "86400",
    )  # fmt: skip
    try:
        yield Beside(name, server)
    finally:
        await docker("rm", "--force", name)
