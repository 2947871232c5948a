"""Custom tools as clients meet them: they come, change and go while the client is connected."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import mcp.types as types
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from container_runtime.engine import Report
from container_runtime.engines.in_process import InProcessEngine
from mcp_server.changes import Announcer
from mcp_server.door import GroupDoor
from mcp_server.extension import ServerExtension
from mcp_server.render import ERROR_META
from mcp_server.server import SandboxServer
from sandbox_sdk import SandboxGroup
from sandbox_sdk.models import LOCAL, Principal
from tests.mcp_server.customs import (
    COUNT,
    SHOUT,
    TRANSPORTS,
    WAIT_S,
    CustomServers,
    Listening,
    connected,
    function,
    listening,
    text,
)
from tests.mcp_server.extensions import one
from tests.mcp_server.test_web import serving

GARDEN = '''
from datetime import datetime
from pydantic import BaseModel

class Tree(BaseModel):
    name: str
    parts: list["Tree"] = []

def prune(tree: Tree, since: datetime | None = None) -> Tree:
    """Prunes a tree.

    Args:
        tree: What to prune.
        since: Since when.
    """
    return Tree(name=tree.name)
'''
PICTURES = '''
import base64

PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8Dw"
    "HwAFBQIAX8jx0gAAAABJRU5ErkJggg==")

def pictures() -> list[bytes]:
    """Shows a picture, and bytes that are none."""
    return [PIXEL, b"thing"]
'''
MANAGING = {"tool_list", "tool_call", "tool_register", "tool_remove"}


@asynccontextmanager
async def served(folder: Path, *extensions: ServerExtension) -> AsyncIterator[Listening]:
    """A client in memory, of a server that lets models register tools."""
    async with (
        CustomServers(folder).running(extensions) as server,
        listening(lambda **more: Client(server, **more), modern=True) as me,
    ):
        yield me


def error(result: types.CallToolResult) -> dict[str, Any]:
    assert result.is_error, text(result)
    assert result.meta is not None
    return result.meta[ERROR_META]


def data(result: types.CallToolResult) -> dict[str, Any]:
    assert not result.is_error, text(result)
    assert result.structured_content is not None
    return result.structured_content


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_file_comes_changes_breaks_and_goes_while_a_client_is_connected(
    tmp_path: Path, transport: str
) -> None:
    async with connected(transport, tmp_path / "state") as me:
        assert "words_count" not in await me.tools()
        made = data(await me.register("words", COUNT))
        assert [each["mcp_name"] for each in made["tools"]] == ["words_count"]
        await me.changed()
        tool = (await me.tools())["words_count"]
        assert tool.description == "Counts words."
        assert list(tool.input_schema["properties"]) == ["words", "least", "sandbox_id"]

        heard = await _called_with_progress(me)
        assert "counting 3" in heard
        assert "half of it" in heard

        changed = COUNT.replace("Counts words.", "Counts each word.")
        assert data(await me.register("words", changed))["changes"]
        await me.changed()
        assert (await me.tools())["words_count"].description == "Counts each word."

        broken = error(await me.register("words", COUNT + "\ndef (:\n"))
        assert broken["code"] == "SCHEMA_ERROR"
        (file,) = data(await me.call("tool_list"))["files"]
        assert file["status"] == "ready"
        assert file["error"].startswith("SCHEMA_ERROR")
        assert data(await me.call("words_count", words=["a"]))["result"] == {"a": 1}

        assert data(await me.call("tool_remove", namespace="words"))["removed"] == ["words_count"]
        await me.until("words_count", there=False)
        with pytest.raises(MCPError, match="unknown tool 'words_count'") as caught:
            await me.call("words_count", words=["a"])
        assert caught.value.code == types.INVALID_PARAMS


async def _called_with_progress(me: Listening) -> str:
    """What was heard meanwhile; the result has to be right."""
    heard: list[str] = []

    async def on_progress(_progress: float, _total: float | None, message: str | None) -> None:
        heard.append(message or "")

    given = {"words": ["a", "b", "a"], "least": 2}
    called = await me.client.call_tool("words_count", given, progress_callback=on_progress)
    assert data(called)["result"] == {"a": 2}
    assert data(called)["logs"] == "counting 3\n"
    assert text(called) == '{"a": 2}\nlogs:\ncounting 3\n'
    return "".join(heard)


async def test_nothing_is_promised_of_a_custom_tool_and_what_contains_itself_is_kept(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as me:
        data(await me.register("garden", GARDEN))
        tool = (await me.until("garden_prune", there=True))["garden_prune"]
        assert tool.annotations is not None
        assert tool.annotations.model_dump() == {
            "title": "garden.prune",
            "read_only_hint": False,
            "destructive_hint": True,
            "idempotent_hint": False,
            "open_world_hint": True,
        }
        assert tool.input_schema["properties"]["since"] == {
            "type": "string",
            "description": "Since when. Format: date-time.",
        }
        assert tool.input_schema["required"] == ["tree"]
        assert list(tool.input_schema["$defs"]) == ["Tree"]
        assert tool.output_schema is not None
        assert list(tool.output_schema["properties"]) == [
            "result",
            "file",
            "logs",
            "logs_truncated",
        ]
        assert list(tool.output_schema["$defs"]) == ["Tree"]
        tree = {"name": "oak", "parts": [{"name": "twig"}]}
        # The client holds the result against the output schema.
        pruned = data(await me.call("garden_prune", tree=tree))
        assert pruned["result"] == {"name": "oak", "parts": []}


async def test_a_client_that_never_refreshes_uses_tool_call(tmp_path: Path) -> None:
    async with served(tmp_path) as me:
        data(await me.register("loud", SHOUT))
        for name in ("loud.shout", "loud_shout"):
            called = await me.call("tool_call", tool=name, arguments={"text": "hi"})
            assert data(called)["result"] == "HI"
            assert text(called) == "HI"
        missing = error(await me.call("tool_call", tool="loud.whisper"))
        assert missing["code"] == "UNKNOWN_TOOL"
        assert "loud.shout" in missing["hint"]


async def test_a_tool_of_another_sandbox_is_called_with_tool_call(tmp_path: Path) -> None:
    async with served(tmp_path) as me:
        other = data(await me.call("sandbox_create"))["sandbox_id"]
        data(await me.register("loud", SHOUT, sandbox_id=other))
        assert "loud_shout" not in await me.tools()
        called = await me.call(
            "tool_call", tool="loud.shout", arguments={"text": "hi"}, sandbox_id=other
        )
        assert data(called)["result"] == "HI"
        with pytest.raises(MCPError, match="unknown tool"):
            await me.call("loud_shout", text="hi", sandbox_id=other)
        data(await me.register("here", SHOUT))
        assert error(await me.call("here_shout", text="hi", sandbox_id=other))["code"] == (
            "UNKNOWN_TOOL"
        )


async def test_tools_go_with_the_sandbox_they_were_registered_in(tmp_path: Path) -> None:
    async with served(tmp_path) as me:
        data(await me.register("loud", SHOUT))
        await me.until("loud_shout", there=True)
        data(await me.call("sandbox_end"))
        await me.until("loud_shout", there=False)


def who_asks(context: Any) -> Principal:
    """Whom a header names."""
    return Principal(subject=context.request.headers["x-who"])


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_callers_do_not_see_each_others_tools(
    tmp_path: Path, era: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("calls", "customs", "sandboxes"):
        monkeypatch.setattr(f"mcp_server.{module}.principal_of", who_asks)
    async with (
        serving(CustomServers(tmp_path)) as site,
        caller(site.url, "anna", era) as anna,
        caller(site.url, "bob", era) as bob,
    ):
        data(await anna.register("loud", SHOUT))
        data(await bob.register("loud", SHOUT.replace("upper", "title")))
        data(await bob.register("words", COUNT))
        mine = data(await anna.call("sandbox_get"))["sandbox_id"]
        tools = await anna.tools()
        assert "loud_shout" in tools
        assert "words_count" not in tools
        assert data(await anna.call("loud_shout", text="hi there"))["result"] == "HI THERE"
        assert data(await bob.call("loud_shout", text="hi there"))["result"] == "Hi There"
        with pytest.raises(MCPError, match="unknown tool 'words_count'"):
            await anna.call("words_count", words=[])
        stolen = await bob.call("loud_shout", text="hi", sandbox_id=mine)
        assert error(stolen)["code"] == "SANDBOX_NOT_FOUND"


@asynccontextmanager
async def caller(url: str, name: str, era: str) -> AsyncIterator[Listening]:
    """A client that says who it is."""
    async with httpx2.AsyncClient(headers={"x-who": name}) as http:

        def make(**options: Any) -> Client:
            return Client(streamable_http_client(f"{url}/mcp", http_client=http), **options)

        async with listening(make, modern=era == "modern") as me:
            yield me


async def test_registration_is_not_there_unless_it_is_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "tools"
    folder.mkdir()
    for options, expected in (
        ({"tool_registration": False}, set()),
        ({"tool_registration": False, "tools": [folder]}, {"tool_list", "tool_call"}),
        ({}, MANAGING),
    ):
        servers = CustomServers(tmp_path / "state", **options)
        async with servers.running() as server, Client(server) as client:
            names = {each.name for each in (await client.list_tools()).tools}
            assert names & MANAGING == expected
            said = client.instructions or ""
            assert ("tool_call" in said, "tool_register" in said) == (
                "tool_call" in expected,
                "tool_register" in expected,
            )


@pytest.mark.parametrize(
    ("namespace", "source", "told"),
    [
        ("filesystem", SHOUT, ["filesystem.py", "built-in tools filesystem_*"]),
        ("Sandbox", SHOUT, ["Sandbox.py", "built-in tools sandbox_*"]),
        ("a", function("b_c", "return ''"), ["a.b_c (a.py:1)", "registered by tool_register"]),
        (
            "loud",
            function("f", "return ''", parameters="sandbox_id: str"),
            ["loud.py", "sandbox_id"],
        ),
    ],
    ids=["built-in", "our own", "two files", "argument"],
)
async def test_a_name_that_is_taken_is_refused_naming_both_places(
    tmp_path: Path, namespace: str, source: str, told: list[str]
) -> None:
    async with served(tmp_path) as me:
        data(await me.register("a_b", function("c", "return ''")))
        refused = error(await me.register(namespace, source))
        assert refused["code"] in ("ALREADY_EXISTS", "SCHEMA_ERROR")
        for words in told:
            assert words in refused["message"]


async def test_a_name_of_an_extension_is_taken_too(tmp_path: Path) -> None:
    async with served(tmp_path, one) as me:
        refused = error(await me.register("demo", function("hello", "return ''")))
        assert "demo.hello (demo.py:1)" in refused["message"]
        assert "extension 'one'" in refused["message"]
        assert text(await me.call("demo_hello")) == "hello"


async def test_pictures_and_bytes_come_as_blocks(tmp_path: Path) -> None:
    async with served(tmp_path) as me:
        data(await me.register("show", PICTURES))
        shown = await me.call("show_pictures")
        assert [block.type for block in shown.content] == ["text", "image", "resource"]
        assert isinstance(shown.content[1], types.ImageContent)
        assert shown.content[1].mime_type == "image/png"
        assert [each["mime_type"] for each in data(shown)["result"]] == [
            "image/png",
            "application/octet-stream",
        ]


async def test_what_a_tool_raises_shows_the_lines_of_its_file(tmp_path: Path) -> None:
    async with served(tmp_path) as me:
        data(await me.register("sad", function("cry", "raise ValueError('no luck')")))
        raised = await me.call("sad_cry")
        assert error(raised)["code"] == "TOOL_RAISED"
        assert text(raised).startswith("TOOL_RAISED: ValueError: no luck")
        assert re.search(r"^traceback:\n.*raise ValueError\('no luck'\)", text(raised), re.M | re.S)


async def test_a_result_too_large_for_clients_lies_in_the_workspace(tmp_path: Path) -> None:
    async with served(tmp_path) as me:
        data(await me.register("big", function("text", "return 'x' * 400_000")))
        called = await me.call("big_text")
        path = data(called)["file"]["path"]
        piece = data(await me.call("filesystem_read", path=path))
        assert "x" * 1000 in piece["content"]
        assert len(text(called)) < 100_000


class SlowEngine(InProcessEngine):
    """An engine whose image takes as long as the test wants."""

    def __init__(self, folder: Path) -> None:
        super().__init__(state_dir=folder)
        self.built = asyncio.Event()

    async def ensure_image(self, report: Report) -> str:
        await self.built.wait()
        return "image"


async def test_files_of_the_group_are_listed_once_it_has_started_and_calls_wait(
    tmp_path: Path,
) -> None:
    file, engine = tmp_path / "loud.py", SlowEngine(tmp_path)
    file.write_text(SHOUT)
    server = SandboxServer(
        lambda: SandboxGroup(engine=engine, state_dir=tmp_path, tools=[file]),
    )
    async with listening(lambda **more: Client(server, **more), modern=True) as me:
        server.door.open()
        called = asyncio.create_task(me.call("loud_shout", text="hi"))
        unknown = asyncio.create_task(me.call("loud_whisper", text="hi"))
        assert "loud_shout" not in await me.tools()
        engine.built.set()
        await me.changed()
        assert "loud_shout" in await me.tools()
        assert data(await called)["result"] == "HI"
        with pytest.raises(MCPError, match="unknown tool 'loud_whisper'"):
            await unknown
    await server.door.close()


async def test_the_last_that_is_announced_of_a_start_is_what_can_be_listed(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(SHOUT)
    listed: list[int] = []
    door = GroupDoor(
        CustomServers(tmp_path / "state", tools=[tmp_path]).group,
        lambda: listed.append(len(door.custom_tools(LOCAL))),
    )
    await (await door.group()).tools_ready()
    assert listed[-1] == 1
    await door.close()


@pytest.mark.parametrize("transport", ["stdio-legacy", "http-modern"])
async def test_a_folder_of_files_is_followed(tmp_path: Path, transport: str) -> None:
    folder = tmp_path / "tools"
    folder.mkdir()
    file = folder / "loud.py"
    file.write_text(SHOUT)
    words, options = ("--tools", str(folder)), {"tools": [folder]}
    async with connected(transport, tmp_path / "state", *words, **options) as me:
        await me.until("loud_shout", there=True)
        file.write_text(SHOUT.replace("shout", "yell"))
        tools = await me.until("loud_yell", there=True)
        assert "loud_shout" not in tools
        (folder / "words.py").write_text(COUNT)
        await me.until("words_count", there=True)
        file.unlink()
        await me.until("loud_yell", there=False)


async def test_changes_that_come_together_are_announced_together() -> None:
    changes = 0
    told: list[int] = []
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def announce() -> None:
        told.append(changes)
        begun.set()
        await go_on.wait()

    announcer = Announcer(announce, interval_s=0.001)
    for _ in range(10):
        changes += 1
        announcer.changed()
        await begun.wait()
    begun.clear()
    go_on.set()
    async with asyncio.timeout(WAIT_S):
        await begun.wait()
    assert told == [1, 10]
    announcer.stop()
    announcer.changed()
    await asyncio.wait([announcer._running])
    assert told == [1, 10]


async def test_a_list_too_long_for_clients_comes_in_pages(tmp_path: Path) -> None:
    docstring = "word " * 700
    source = "\n".join(f'def f{number}() -> None:\n    """{docstring}"""\n' for number in range(64))
    async with served(tmp_path) as me:
        for namespace in ("one", "two"):
            data(await me.register(namespace, source))
        names: list[str] = []
        cursor, pages = None, 0
        while cursor is not None or not pages:
            page = await me.client.list_tools(cursor=cursor)
            assert len(page.model_dump_json()) < 1_000_000
            names += [each.name for each in page.tools]
            cursor, pages = page.next_cursor, pages + 1
        assert pages > 1
        assert len(names) == len(set(names))
        assert {f"two_f{number}" for number in range(64)} <= set(names)
        assert data(await me.call("two_f63"))["result"] is None
        with pytest.raises(MCPError, match="list the tools anew"):
            await me.client.list_tools(cursor="gone")
