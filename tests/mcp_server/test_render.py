"""Results: complete as text, within what clients bear, and honest about what was cut."""

import base64
import json
from typing import Any

import mcp.types as types
import pytest

from mcp_server.fitting import MAX_DATA_BYTES, MAX_TEXT_CHARS, fit, wire_size
from mcp_server.render import (
    ERROR_META,
    LEFT_OUT_META,
    MAX_RESULT_BYTES,
    failure_of,
    render_data,
    render_failure,
    text_of,
)
from tool_plugins.contract import Attachment, ToolFailure
from tool_plugins.errors import GoneCause, QuotaError, SandboxGoneError


def test_text_has_short_values_first_and_leaves_out_what_says_nothing() -> None:
    data = {
        "stdout": "one\ntwo\n",
        "exit_code": 0,
        "signal": None,
        "stderr": "",
        "truncated": False,
        "entries": [{"path": "a", "line": None, "after": []}, "b"],
        "status": "exited",
    }
    assert text_of(data) == (
        "exit_code: 0\ntruncated: false\nstatus: exited\n"
        'stdout:\none\ntwo\n\nentries:\n{"path": "a"}\nb'
    )


def test_text_of_nothing_still_says_something() -> None:
    assert text_of({}) == "done"
    assert text_of({"files": [], "error": None}) == "files: none"
    assert text_of({"files": [], "total": 0}) == "total: 0"


@pytest.mark.parametrize(
    "data",
    [
        {"stdout": "x" * 5_000_000, "truncated": False},
        {"stdout": "\0" * 1_000_000, "stderr": "💡" * 1_000_000, "truncated": False},
        {"entries": [{"path": f"file{number}"} for number in range(200_000)], "truncated": False},
        {"entries": [{"name": "n" * 1000, "n": n} for n in range(5_000)], "truncated": False},
        {"numbers": list(range(1_000_000)), "truncated": False},
    ],
)
def test_data_that_is_too_large_is_cut_and_says_so(data: dict[str, Any]) -> None:
    smaller, left_out = fit(data)
    assert wire_size(smaller) <= MAX_DATA_BYTES
    assert smaller["truncated"] is True
    assert left_out
    result = render_data(data)
    assert len(result.model_dump_json()) <= MAX_RESULT_BYTES
    assert result.meta is not None
    assert result.meta[LEFT_OUT_META] == left_out


def test_head_and_tail_of_a_long_text_stay() -> None:
    text = "HEAD" + "x" * (3 * MAX_TEXT_CHARS) + "TAIL"
    smaller, left_out = fit({"content": text})
    assert smaller["content"].startswith("HEAD")
    assert smaller["content"].endswith("TAIL")
    omitted = len(text) - MAX_TEXT_CHARS // 2
    assert left_out == [f"content: {omitted} of {len(text)} characters"]


def test_data_that_fits_is_left_alone() -> None:
    data = {"content": "x" * (MAX_TEXT_CHARS - 100)}
    assert fit(data) == (data, [])
    assert render_data(data).meta is None


def test_an_attachment_that_is_too_large_is_named_instead() -> None:
    small = Attachment(mime_type="image/png", data=base64.b64encode(b"x" * 300).decode())
    large = Attachment(mime_type="image/png", data="A" * MAX_RESULT_BYTES)
    result = render_data({"path": "a.png"}, (small, large))
    assert [block.type for block in result.content] == ["text", "image", "text"]
    assert isinstance(result.content[2], types.TextContent)
    assert "attachment 2 (image/png) is too large" in result.content[2].text


def test_a_failure_has_no_structured_content_that_a_schema_could_refuse() -> None:
    failure = ToolFailure(code="NO_MATCH", message="not found", hint="", details={})
    result = render_failure(failure)
    assert result.is_error
    assert "structuredContent" not in result.model_dump(by_alias=True, exclude_none=True)
    assert result.meta == {ERROR_META: failure.model_dump()}


def test_a_failure_with_endless_details_stays_small() -> None:
    failure = ToolFailure(code="X", message="m" * 3_000_000, details={"lines": ["l" * 99] * 50_000})
    assert len(json.dumps(render_failure(failure).model_dump(mode="json"))) < MAX_RESULT_BYTES


def test_a_raised_error_tells_its_cause_and_whether_to_try_again() -> None:
    gone = failure_of(SandboxGoneError("it ended", cause=GoneCause.OOM, hint="use less"))
    assert (gone.code, gone.details) == ("SANDBOX_GONE", {"retryable": False, "cause": "oom"})
    assert failure_of(QuotaError("full")).details == {"retryable": True}
