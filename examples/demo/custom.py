"""Scene: a file becomes tools while the client is connected; others are refused."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from .files import HIDDEN, HOSTILE, LONG_S, NAMESPACE, POISONED, Hostile, broken, first, second
from .index import Index
from .player import Player
from .servers import server
from .stage import Stage
from .web import opened

TOOL = f"{NAMESPACE}_say"
NEWS_TIMEOUT_S = 10


@dataclass(slots=True)
class Maker:
    """A client that registers tools: what it hears from the server, and the package it uses."""

    player: Player
    news: AsyncIterator[Any]
    index: Index

    @property
    def stage(self) -> Stage:
        """Where it is shown."""
        return self.player.stage

    async def register(self, source: str, before: str = "") -> dict[str, Any]:
        """Registers the cow's file, and shows the lines that were not there before."""
        known = before.splitlines()
        new = "\n".join(line for line in source.splitlines() if line not in known)
        self.stage.call("tool_register", f'{{"namespace": "{NAMESPACE}"}}', new)
        done = await self.player.call(
            "tool_register", shown=False, namespace=NAMESPACE, source=source
        )
        async with asyncio.timeout(NEWS_TIMEOUT_S):
            event = await anext(self.news)
        told = type(event).__name__ == "ToolsListChanged"
        self.stage.claim(told, "the server says by itself that the list of tools has changed")
        return done

    async def tools(self) -> dict[str, Any]:
        """The tools by name, as the client sees them now."""
        return {tool.name: tool for tool in (await self.player.client.list_tools()).tools}


async def play(player: Player) -> None:
    """Shows a tool that is registered, called, changed, and files that are refused."""
    with opened() as place:
        params = server(
            str(place.folder),
            *("--tool-registration", "--egress-policy", str(place.policy)),
            *("--package-index", place.index.url),
            SANDBOX_STATE_DIR=str(place.folder / "state"),
        )
        async with (
            player.connected(params) as other,
            other.client.listen(tools_list_changed=True) as news,
        ):
            maker = Maker(other, aiter(news), place.index)
            await _register(maker)
            version = await _change(maker)
            await _break(maker, version)
            await _refuse(maker)


async def _register(maker: Maker) -> None:
    """A file with a package becomes a tool."""
    stage, package = maker.stage, maker.index.package
    before = await maker.tools()
    stage.claim(
        "tool_register" in before and TOOL not in before,
        "the operator lets models register tools; so far there is none",
    )
    done = await maker.register(first(package))
    other = await maker.player.run(f"python3 -c 'import {package}'")
    stage.claim(
        done["dependencies"] == [package] and "ModuleNotFoundError" in other["stderr"],
        f"{package} was installed for it alone: other programs of the sandbox do not have it",
    )
    tool = (await maker.tools())[TOOL]
    stage.show(f"{tool.name}: {tool.description}")
    described = tool.input_schema["properties"]["text"]
    stage.claim(
        described["type"] == "string" and described["description"] == "What the cow says.",
        "it is in the client's list, described by its type hints and its docstring",
    )
    said = await maker.player.call(TOOL, text="Hello, tools")
    stage.show(said["logs"])
    stage.claim(said["result"] == 2, "it answers like any tool: two words")
    stage.claim("Hello, tools" in said["logs"], "what the package printed comes beside the answer")


async def _change(maker: Maker) -> str:
    """The file is changed while it is in use. Returns its version."""
    stage, old = maker.stage, first(maker.index.package)
    (file,) = (await maker.player.call("tool_list", shown=False))["files"]
    stage.say("The same file with one more argument:")
    done = await maker.register(second(maker.index.package), old)
    stage.show("\n".join(done["changes"]))
    stage.claim(
        done["version"] != file["version"] and "loud" in " ".join(done["changes"]),
        "it is another version, and says what has changed",
    )
    tool = (await maker.tools())[TOOL]
    stage.claim("loud" in tool.input_schema["properties"], "the client sees the new argument")
    said = await maker.player.call(TOOL, text="hello again", loud=True)
    stage.claim("HELLO AGAIN" in said["logs"], "and a call uses it")
    return done["version"]


async def _break(maker: Maker, version: str) -> None:
    """A change that does not work leaves the file as it was."""
    stage, package = maker.stage, maker.index.package
    stage.say("Once more, now with a mistake: the new argument says nothing of its type.")
    words = await maker.player.refusal(
        "tool_register", shown=False, namespace=NAMESPACE, source=broken(package)
    )
    line = broken(package).splitlines().index(_line_of("loud = False", broken(package))) + 1
    stage.claim(
        f"{NAMESPACE}.py:{line}" in words and "loud" in words,
        "the refusal names the file, the line and the parameter",
    )
    (file,) = (await maker.player.call("tool_list"))["files"]
    stage.show(file["error"])
    stage.claim(file["version"] == version and file["error"], "the list has the error")
    said = await maker.player.call(TOOL, text="still here", loud=True)
    stage.claim("STILL HERE" in said["logs"], "and the last good version works on")


def _line_of(text: str, source: str) -> str:
    return next(line for line in source.splitlines() if text in line)


async def _refuse(maker: Maker) -> None:
    """Files that mean harm, or cannot be tools."""
    stage = maker.stage
    before = set(await maker.tools())
    for each in HOSTILE:
        await _refuse_one(maker, each)
    left = await maker.player.run(f"ps -eo args | grep '[s]leep {LONG_S}'")
    stage.claim(left["exit_code"] == 1, "of what the endless one had started nothing runs")
    stage.say("A file whose description has a second text, in characters that nobody sees:")
    await maker.player.call("tool_register", shown=False, namespace="sums", source=POISONED)
    tool = (await maker.tools())["sums_add"]
    stage.show(f"{tool.name}: {tool.description}")
    stage.claim(
        HIDDEN in POISONED and tool.description == "Adds two numbers.",
        "what reaches the client is what people see",
    )
    await maker.player.call("tool_remove", namespace="sums")
    stage.claim(set(await maker.tools()) == before, "of all these, nothing is in the list")


async def _refuse_one(maker: Maker, each: Hostile) -> None:
    maker.stage.say(f"A file {each.kind}:")
    words = await maker.player.refusal(
        "tool_register", namespace=each.namespace, source=each.source, **each.settings
    )
    maker.stage.claim(each.says in words, each.claim)
