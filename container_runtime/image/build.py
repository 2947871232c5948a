"""One build step through the engine's API, with its output as progress lines."""

from collections.abc import Callable
from typing import Any

from container_runtime.engines.docker_client import NOT_FOUND, DockerClient, EngineRefusal
from tool_plugins.errors import ImageError

from .inputs import LABEL, Tree, context

BUILD_TIMEOUT_S = 1800.0
BUILD_SILENCE_S = 600.0
_TAIL_LINES = 20


async def exists(client: DockerClient, image: str) -> bool:
    """Whether the engine has that image."""
    try:
        await client.run(lambda api: api.inspect_image(image))
    except EngineRefusal as refusal:
        if refusal.status == NOT_FOUND:
            return False
        raise
    return True


async def build(
    client: DockerClient,
    tag: str,
    files: Tree,
    *,
    arguments: dict[str, str],
    network: str,
    report: Callable[[str], None],
) -> None:
    """Builds `files` (one of them named Dockerfile) and names the result `tag`.

    Raises:
        ImageError: a step failed; the message ends with what it printed last.
    """

    def work(api: Any) -> str:
        with context(files) as stream:
            events = api.build(
                fileobj=stream,
                custom_context=True,
                tag=tag,
                buildargs=arguments,
                network_mode=network,
                labels={LABEL: tag},
                rm=True,
                forcerm=True,
                decode=True,
            )
            return _follow(events, report)

    failure = await client.run_long(work, timeout_s=BUILD_TIMEOUT_S, silence_s=BUILD_SILENCE_S)
    if failure:
        raise ImageError(f"building {tag} failed: {failure}")


def _follow(events: Any, report: Callable[[str], None]) -> str:
    """Reports every step; returns what went wrong, or nothing."""
    tail: list[str] = []
    for event in events:
        line = str(event.get("stream", "")).strip()
        if line:
            tail = [*tail, line][-_TAIL_LINES:]
        if line.startswith("Step "):
            report(line)
        if "error" in event:
            return "\n".join([str(event["error"]), *tail])
    return ""
