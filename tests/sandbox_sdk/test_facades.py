"""Typed methods: they take what the tools take and return what the tools promise."""

import inspect

import pytest

from sandbox_sdk import SandboxGroup, SandboxStateError, ToolCallError
from sandbox_sdk.databases.facades import DatabaseTools, VectorTools
from sandbox_sdk.facades import CommandStream, FilesystemTools, TerminalTools
from sandbox_sdk.web import BrowserTools, DocumentTools, WebTools
from tests.fakes import eventually
from tool_plugins.browser.definition import TOOLS as BROWSER
from tool_plugins.contract import ToolDefinition
from tool_plugins.database.definition import TOOLS
from tool_plugins.registry import load_registry
from tool_plugins.web.definition import TOOLS as WEB

FACADES = {
    "filesystem": FilesystemTools,
    "terminal": TerminalTools,
    "database": DatabaseTools,
    "vector": VectorTools,
    "document": DocumentTools,
    "web": WebTools,
    "browser": BrowserTools,
}
DEFINITIONS = {
    definition.name: definition for definition in (*load_registry(), *TOOLS, *WEB, *BROWSER)
}


@pytest.mark.parametrize("definition", DEFINITIONS.values(), ids=DEFINITIONS)
def test_a_typed_method_takes_the_arguments_of_its_tool(definition: ToolDefinition) -> None:
    plugin, _, verb = definition.name.partition(".")
    check_signature(getattr(FACADES[plugin], verb), definition)
    answers = inspect.signature(getattr(FACADES[plugin], verb)).return_annotation
    assert answers is definition.result


def test_streaming_takes_the_arguments_of_running() -> None:
    check_signature(TerminalTools.stream, DEFINITIONS["terminal.run"])


def check_signature(method: object, definition: ToolDefinition) -> None:
    _self, *parameters = inspect.signature(method).parameters.values()  # type: ignore[arg-type]
    fields = definition.arguments.model_fields
    assert [each.name for each in parameters] == list(fields)
    assert {each.name: each.default for each in parameters} == {
        name: inspect.Parameter.empty if field.is_required() else field.default
        for name, field in fields.items()
    }


async def test_files_are_written_read_and_edited(group: SandboxGroup) -> None:
    async with await group.create_sandbox() as sandbox:
        await sandbox.filesystem.write("src/a.py", "one\ntwo\n")
        await sandbox.filesystem.edit("src/a.py", [{"old": "two", "new": "three"}])

        assert (await sandbox.filesystem.read("src/a.py")).content == "1→one\n2→three"
        assert (await sandbox.filesystem.glob("**/*.py")).paths == ["src/a.py"]


async def test_a_failure_of_the_tool_is_raised_with_its_code_and_hint(group: SandboxGroup) -> None:
    async with await group.create_sandbox() as sandbox:
        with pytest.raises(ToolCallError) as missing:
            await sandbox.filesystem.read("none.txt")
        with pytest.raises(ToolCallError) as wrong:
            await sandbox.filesystem.read("none.txt", start_line=-1)

    assert missing.value.code == "NOT_FOUND"
    assert missing.value.hint
    assert wrong.value.code == "INVALID_ARGUMENT"
    assert wrong.value.details["fields"][0]["field"] == "start_line"


async def test_a_command_streams_its_output_and_then_has_a_result(group: SandboxGroup) -> None:
    async with await group.create_sandbox() as sandbox:
        stream = sandbox.terminal.stream("echo one; echo two >&2; exit 3")
        assert isinstance(stream, CommandStream)
        with pytest.raises(SandboxStateError, match="no result yet"):
            _ = stream.result

        async with stream:
            pieces = [(event.event, event.text) async for event in stream]

        assert sorted(pieces) == [("stderr", "two\n"), ("stdout", "one\n")]
        assert (stream.result.exit_code, stream.result.stdout) == (3, "one\n")


async def test_leaving_a_stream_early_ends_its_command(group: SandboxGroup) -> None:
    async with await group.create_sandbox() as sandbox:
        async with sandbox.terminal.stream("echo started; sleep 1000") as stream:
            async for event in stream:
                assert event.text == "started\n"
                break

        async def killed() -> bool:
            listed = await sandbox.terminal.list()
            return [each.status for each in listed.processes] == ["killed"]

        await eventually(killed)
