"""What custom tools answer: read as it was written, and whole somewhere where it is too large."""

import base64
import json
from typing import Any, cast

import pytest
from mcp.types import CallToolResult

from mcp_server.fitting import MAX_DATA_BYTES, MAX_TEXT_CHARS
from mcp_server.outcomes import FOLDER, render_outcome
from mcp_server.render import LEFT_OUT_META, MAX_RESULT_BYTES
from sandbox_sdk import Sandbox
from tool_plugins.contract import Attachment, Observation
from tool_plugins.errors import ErrorCode, ToolCallError


class Workspace:
    """Takes what is uploaded, or refuses it."""

    def __init__(self, refuses: str = "") -> None:
        self.refuses = refuses
        self.files: dict[str, bytes] = {}

    async def upload(self, path: str, content: bytes, *, mode: str) -> None:
        """As `Sandbox.upload`."""
        assert mode == "create"
        if self.refuses:
            raise ToolCallError(ErrorCode.DISK_QUOTA, self.refuses)
        self.files[path] = content


async def rendered(
    data: dict[str, Any], *attachments: Attachment, workspace: Workspace | None = None
) -> CallToolResult:
    observation = Observation(action_id="1", tool="my_tools.f", data=data, attachments=attachments)
    sandbox = cast(Sandbox, workspace or Workspace())
    result = await render_outcome(sandbox, "my_tools.f", observation)
    assert len(result.model_dump_json(by_alias=True)) <= MAX_RESULT_BYTES
    return result


def text(result: CallToolResult) -> str:
    return getattr(result.content[0], "text", "")


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ({"result": "plain\ntext"}, "plain\ntext"),
        ({"result": ""}, '""'),
        ({"result": 0}, "0"),
        ({"result": []}, "[]"),
        ({"result": {"name": "ä", "n": None}}, '{"name": "ä", "n": null}'),
        ({"result": None}, "done"),
        ({"result": None, "logs": "one\n"}, "logs:\none\n"),
        ({"result": 3, "logs": "x", "logs_truncated": True}, "3\nlogs:\nx\nlogs_truncated: true"),
    ],
)
async def test_a_result_reads_as_it_was_returned(data: dict[str, Any], shown: str) -> None:
    result = await rendered(data)
    assert text(result) == shown
    assert result.structured_content == {
        "file": None,
        "logs": "",
        "logs_truncated": False,
        **data,
    }
    assert result.meta is None


async def test_a_result_that_the_sandbox_put_into_a_file_is_named() -> None:
    file = {"path": ".tool_results/x.json", "bytes": 7, "mime_type": "application/json"}
    result = await rendered({"result": None, "file": file})
    assert text(result) == "file: .tool_results/x.json (7 bytes, application/json)"
    assert result.structured_content == {"file": file, "logs": "", "logs_truncated": False}


@pytest.mark.parametrize(
    "value",
    [
        "HEAD" + "x" * 900_000 + "TAIL",
        "💡\0" * 200_000,
        list(range(150_000)),
        {f"key {number}": number for number in range(40_000)},
        {"k" * 900_000: 1},
        {str(a): {str(b): {str(c): 0 for c in range(40)} for b in range(40)} for a in range(60)},
        [[number] * 3 for number in range(80_000)],
        [["long"] * 60 + ["l" * 300]] * 1_500,
    ],
    ids=["text", "wide text", "list", "object", "long key", "tree", "table", "long table"],
)
async def test_a_result_too_large_for_a_client_is_shown_in_part_and_kept_as_a_whole(
    value: Any,
) -> None:
    workspace = Workspace()
    result = await rendered({"result": value, "logs": "printed"}, workspace=workspace)
    ((path, content),) = workspace.files.items()
    kind = "text/plain" if isinstance(value, str) else "application/json"
    assert path.startswith(f"{FOLDER}/my_tools.f-")
    assert (content.decode() if isinstance(value, str) else json.loads(content)) == value
    data = result.structured_content
    assert data is not None
    assert data["file"] == {"path": path, "bytes": len(content), "mime_type": kind}
    assert "result" not in data
    shown = text(result)
    assert shown.startswith(str(value)[:1])
    assert f"file: {path} (" in shown
    assert "[left out here: result" in shown
    assert shown.endswith("logs:\nprinted")
    assert len(shown) <= MAX_DATA_BYTES
    assert result.meta is not None
    assert len(result.meta[LEFT_OUT_META]) <= 21


async def test_endless_logs_lose_their_middle_and_leave_the_result_its_room() -> None:
    value = "r" * (MAX_TEXT_CHARS // 2)
    result = await rendered({"result": value, "logs": "FIRST" + "l" * 500_000 + "LAST"})
    data = result.structured_content
    assert data is not None
    assert data["result"] == value
    assert data["logs_truncated"] is True
    assert data["logs"].startswith("FIRST")
    assert data["logs"].endswith("LAST")
    assert "characters left out here" in data["logs"]


async def test_what_cannot_be_kept_is_said() -> None:
    workspace = Workspace(refuses="the disk is full")
    picture = Attachment(mime_type="image/png", data=base64.b64encode(b"x" * 900_000).decode())
    result = await rendered({"result": "x" * 900_000}, picture, workspace=workspace)
    assert "the whole of it could not be kept: the disk is full" in text(result)
    assert getattr(result.content[1], "text", "") == (
        "[attachment 1 (image/png) is too large to show, and was not kept: the disk is full]"
    )
    assert result.structured_content == {"file": None, "logs": "", "logs_truncated": False}


async def test_attachments_are_blocks_and_those_too_large_are_kept() -> None:
    workspace = Workspace()
    large = b"L" * 900_000
    given = [
        Attachment(mime_type=mime_type, data=base64.b64encode(content).decode())
        for mime_type, content in (
            ("image/png", b"one"),
            ("image/jpeg", large),
            ("application/x-thing", b"three"),
        )
    ]
    result = await rendered({"result": []}, *given, workspace=workspace)
    assert [block.type for block in result.content] == ["text", "image", "resource", "text"]
    ((path, content),) = workspace.files.items()
    assert content == large
    assert path.endswith(".jpg")
    assert getattr(result.content[3], "text", "") == (
        f"[attachment 2 (image/jpeg) is too large to show: it is in {path} (900000 bytes)]"
    )
