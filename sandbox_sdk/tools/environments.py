"""Packages for custom tools: installed once, shared read-only by every sandbox that may have them.

uv runs in a throw-away sandbox and through its proxy, under the policy of who asks. It takes ready
wheels only, so no code of a package runs there, and none ever on the host.
"""

import asyncio
import hashlib
import hmac
import json
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from container_runtime.connection import ConnectionLost
from container_runtime.image.inputs import requirements as image_requirements
from container_runtime.spec import Layout
from tool_plugins.errors import SandboxError, ToolError

from .depot import Depot, NoRoom
from .diagnosis import Attempt, explain, failure
from .models import Environment
from .packages import check_index
from .requirements import names_of, parse_requirements, project
from .workshop import Workshop

if TYPE_CHECKING:
    from container_runtime.engine import Engine
    from sandbox_sdk.egress.policy import EgressPolicy
    from sandbox_sdk.sandbox import Sandbox

MAX_BYTES = 4 * 1024**3
MAX_RUN_S = 600.0
"""What the terminal allows one command."""

MIB = 1024**2
ANYONE = "packages"
"""The folder of packages is the same for every container, whatever its name."""

FOLDER = "environment"
PROJECT = "this-file"
PINNED = (
    "annotated-types",
    "docstring-parser",
    "pydantic",
    "pydantic-core",
    "typing-extensions",
    "typing-inspection",
)
"""What a custom tool's own process needs, at the versions it was tried with."""

UV = (
    "uv pip install --no-config --no-progress --color=never --no-python-downloads --no-build "
    "--target=packages --cache-dir=cache --link-mode=hardlink "
    "--constraints=constraints.txt --requirements=pyproject.toml"
)
# Without a hash of each source, since nothing can change them. Tests are many and never imported.
# What is not compiled takes longer to import, and that is all.
COMPILE_S = 60
COMPILE = "-IS -m compileall -q -x /tests/ --invalidation-mode unchecked-hash packages"
VARIABLES = {"UV_HTTP_RETRIES": "1", "UV_CONCURRENT_DOWNLOADS": "8"}


class Environments:
    """The sets of packages of one installation.

    `folder` is for the installation alone: a secret and locks lie there. `workshop` makes the
    sandboxes that install. `index` is the URL of a package index, in place of uv's own default.
    All sets together take `max_bytes` at most; when they would take more, those go that nobody
    used for a day.

    Raises:
        ConfigurationError: the index is no URL of HTTP.
    """

    def __init__(
        self,
        engine: "Engine",
        folder: Path,
        workshop: Workshop,
        *,
        index: str | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._engine = engine
        self._folder = folder
        self._workshop = workshop
        self._index = check_index(index)
        self._max_bytes = max_bytes
        self._pinned = pinned()

    async def ensure(
        self, requirements: Iterable[str], policy: "EgressPolicy | None", *, timeout_s: float
    ) -> Environment:
        """The set of packages that these requirements (PEP 508) lead to.

        The same requirements under the same policy give the same set, without a sandbox or the
        network once it is there. `policy` is what counts for whoever asks; None is no network.

        Raises:
            ToolError: DEPENDENCY_ERROR says which package failed and why; nothing is left of it.
        """
        wanted = parse_requirements(requirements)
        names = names_of(wanted)
        if policy is None:
            raise failure(
                names,
                "the sandbox has no network",
                hint="give the group an egress_policy that allows the package index",
            )
        depot, layout = self._place(names)
        key = await self._key(depot, wanted, policy)
        try:
            async with asyncio.timeout(timeout_s):
                if not await asyncio.to_thread(depot.has, key):
                    await self._make(depot, layout, key, wanted, policy)
        except TimeoutError as exc:
            reason = f"it took longer than {timeout_s:g} s"
            raise failure(names, reason, hint="give it more time") from exc
        except SandboxError as exc:
            # Not as it is: it is another sandbox than the caller's that failed.
            raise failure(names, exc.message, hint=exc.hint) from exc
        except ConnectionLost as exc:
            raise failure(names, "the sandbox that installs it went away") from exc
        except OSError as exc:
            raise failure(names, f"the host cannot keep it: {exc.strerror}") from exc
        return Environment(key=key, path=f"{layout.environments}/{key}")

    async def renew(self, environment: Environment) -> bool:
        """Notes that a set is used. False: it is gone, and `ensure` makes it again."""
        depot, _ = self._place(())
        return await asyncio.to_thread(depot.has, environment.key)

    def _place(self, names: Sequence[str]) -> tuple[Depot, Layout]:
        layout = self._engine.layout(ANYONE)
        if layout.packages is None:
            raise failure(
                names,
                "this engine shares no folder with its containers",
                hint="use an engine on this machine, or tools that need no packages",
            )
        return Depot(self._folder, layout.packages, self._max_bytes), layout

    async def _key(self, depot: Depot, wanted: Sequence[str], policy: "EgressPolicy") -> str:
        """A name nobody can guess who has not the installation's secret."""
        from sandbox_sdk.egress.loading import store_policy

        host = (await self._engine.capabilities()).details
        parts = [
            *(wanted, self._pinned, host.get("python"), host.get("architecture")),
            *(self._index, store_policy(policy)),
        ]
        secret = await asyncio.to_thread(depot.secret)
        return hmac.new(secret, json.dumps(parts).encode(), hashlib.sha256).hexdigest()[:32]

    async def _make(
        self,
        depot: Depot,
        layout: Layout,
        key: str,
        wanted: Sequence[str],
        policy: "EgressPolicy",
    ) -> None:
        async with depot.alone(key):
            if await asyncio.to_thread(depot.has, key):
                return
            draft = await asyncio.to_thread(depot.draft, key)
            try:
                async with self._workshop(policy) as sandbox:
                    await self._install(sandbox, layout.python, wanted)
                    await self._take(sandbox, draft, wanted)
                await asyncio.to_thread(depot.publish, draft, key)
            except NoRoom as exc:
                raise failure(
                    names_of(wanted),
                    f"{exc.needed // MIB} MiB of packages do not fit beside those in use, "
                    f"which may take {self._max_bytes // MIB} MiB together",
                    hint="packages that nobody used for a day make room by themselves",
                ) from exc
            finally:
                await asyncio.to_thread(depot.discard, draft)

    async def _install(self, sandbox: "Sandbox", python: str, wanted: Sequence[str]) -> None:
        """Runs uv in the sandbox; the packages are in its workspace then."""
        constraints = "".join(f"{pin}\n" for pin in self._pinned)
        await sandbox.upload(f"{FOLDER}/constraints.txt", constraints.encode())
        await sandbox.upload(f"{FOLDER}/pyproject.toml", project(PROJECT, wanted).encode())
        interpreter = shlex.quote(python)
        # Where there is no image, uv lies beside the interpreter it was installed for.
        path = shlex.quote(str(PurePosixPath(python).parent))
        index = {} if self._index is None else {"UV_DEFAULT_INDEX": self._index}
        done = await sandbox.terminal.run(
            f"mkdir packages && PATH=$PATH:{path} {UV} --python={interpreter} && "
            f"{{ timeout {COMPILE_S} {interpreter} {COMPILE} >/dev/null 2>&1 || true; }}",
            cwd=FOLDER,
            env=VARIABLES | index,
            timeout_s=MAX_RUN_S,
            wait_s=MAX_RUN_S,
        )
        if done.exit_code != 0:
            raise explain(
                Attempt(
                    packages=names_of(wanted),
                    pinned=self._pinned,
                    said=done.stderr,
                    log=sandbox.egress.log(),
                    out_of_memory=done.cause == "oom",
                )
            )

    async def _take(self, sandbox: "Sandbox", draft: Path, wanted: Sequence[str]) -> None:
        """Copies the packages to this host, each file checked, and no more than fit its disk."""
        most = sandbox.info().resources.workspace_mb * MIB
        try:
            async with sandbox.connected() as connection:
                await connection.download_folder(f"{FOLDER}/packages", draft, max_bytes=most)
        except ToolError as exc:
            raise failure(names_of(wanted), exc.message, hint=exc.hint) from exc
        (draft / ".lock").unlink(missing_ok=True)


def pinned() -> tuple[str, ...]:
    """What every set has to go with, as "name==version"."""
    known = (line.partition("==") for line in image_requirements())
    versions: dict[str, str] = {canonicalize_name(name): version for name, _, version in known}
    return tuple(f"{name}=={versions[name]}" for name in PINNED)
