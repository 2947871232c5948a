"""Budgets of single actions in a running sandbox."""

from sandbox_sdk import SandboxGroup

from .baseline import image_of, plain_container
from .budget import Row, fraction
from .measure import in_turns

ROUNDS = 40
PER_ROUND = 25
READ_BUDGET = 1 / 80
ECHO_BUDGET = 1 / 50


async def rows(group: SandboxGroup) -> list[Row]:
    """Reads a small file and echoes a word, each against `docker exec`."""
    async with await group.create_sandbox() as sandbox:
        await sandbox.filesystem.write("hello.txt", "hello\n")
        async with plain_container(await image_of(sandbox.id)) as plain:
            read, cat = await in_turns(
                lambda: sandbox.filesystem.read("hello.txt"),
                lambda: plain.execute("cat", "/etc/hostname"),
                rounds=ROUNDS,
                per_round=PER_ROUND,
            )
            echo, docker_echo = await in_turns(
                lambda: sandbox.terminal.run("echo hello"),
                lambda: plain.execute("echo", "hello"),
                rounds=ROUNDS,
                per_round=PER_ROUND,
            )
    return [
        fraction("SDK: read a small file", read, cat, "docker exec cat", at_most=READ_BUDGET),
        fraction(
            "terminal: echo in its session",
            echo,
            docker_echo,
            "docker exec echo",
            at_most=ECHO_BUDGET,
        ),
    ]
