"""What everything is compared with: the `docker` command on the same image."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

NEVER_ENDS = ("sleep", "86400")


async def program(*command: str) -> str:
    """Runs a program and returns what it printed."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {errors.decode()}")
    return output.decode().strip()


async def docker(*arguments: str) -> str:
    """Runs the `docker` command and returns what it printed."""
    return await program("docker", *arguments)


async def image_of(container: str) -> str:
    """The image a container was made from."""
    return await docker("inspect", "--format", "{{.Image}}", container)


@dataclass(frozen=True, slots=True)
class PlainContainer:
    """A running container of the image, without anything of ours in it."""

    name: str

    async def execute(self, *command: str) -> str:
        """`docker exec`, the way that scripts take."""
        return await docker("exec", self.name, *command)


@asynccontextmanager
async def plain_container(image: str) -> AsyncIterator[PlainContainer]:
    """Such a container, removed at the end."""
    name = await start_container(image)
    try:
        yield PlainContainer(name)
    finally:
        await docker("rm", "--force", name)


async def start_container(image: str) -> str:
    """`docker create` and `docker start`; without a network, as our sandboxes are."""
    name = f"sandbox-bench-{uuid.uuid4().hex[:12]}"
    await docker(
        "create", "--name", name, "--network", "none", "--entrypoint", NEVER_ENDS[0], image,
        *NEVER_ENDS[1:],
    )  # fmt: skip
    await docker("start", name)
    return name
