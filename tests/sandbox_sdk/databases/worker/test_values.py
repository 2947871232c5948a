"""What a cell is in JSON, and what a parameter is in Python."""

import enum
import ipaddress
import json
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest

from sandbox_sdk.databases.worker.values import MAX_DEPTH, check_text, decode_param, encode
from tool_plugins.errors import ErrorCode, ToolError


class Colour(enum.Enum):
    RED = Decimal("1.5")


class Level(enum.StrEnum):
    LOW = "low"


class Wide(float):
    """As numpy's is."""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (0, 0),
        (2**53, 2**53),
        (2**53 + 1, "9007199254740993"),
        (-(2**53), -(2**53)),
        (-(2**53) - 1, "-9007199254740993"),
        (1.5, 1.5),
        (Wide(1.5), 1.5),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        (Decimal("1.10"), "1.10"),
        (Decimal("NaN"), "NaN"),
        (date(2024, 2, 29), "2024-02-29"),
        (time(1, 2, 3, 4), "01:02:03.000004"),
        (datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC), "2024-01-02T03:04:05+00:00"),
        (timedelta(0), "PT0S"),
        (timedelta(days=1, hours=2, minutes=3, seconds=4.5), "P1DT2H3M4.5S"),
        (timedelta(days=2), "P2D"),
        (timedelta(microseconds=1), "PT0.000001S"),
        (-timedelta(hours=36), "-P1DT12H"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (b"\x00\xff", {"base64": "AP8="}),
        (bytearray(b"a"), {"base64": "YQ=="}),
        (memoryview(b"a"), {"base64": "YQ=="}),
        (Colour.RED, "1.5"),
        (Level.LOW, "low"),
        (ipaddress.ip_network("10.0.0.0/8"), "10.0.0.0/8"),
        ({"a": [Decimal(1), (b"a", {3, 1, 2})]}, {"a": ["1", [{"base64": "YQ=="}, [1, 2, 3]]]}),
        ({1: float("nan")}, {"1": "NaN"}),
        ("ä\U0001f600", "ä\U0001f600"),
        ("a\ud800b", "a?b"),
        ({"\udc80": 1}, {"?": 1}),
    ],
)
def test_a_value_keeps_its_meaning_in_json(value: Any, expected: Any) -> None:
    encoded = encode(value)

    assert encoded == expected
    assert type(encoded) is type(expected)
    assert json.loads(json.dumps(encoded, allow_nan=False).encode()) == expected


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_a_value_may_be_nested_so_deep_and_no_deeper() -> None:
    assert encode(nested(MAX_DEPTH)) == nested(MAX_DEPTH)
    with pytest.raises(ToolError) as caught:
        encode(nested(MAX_DEPTH + 2))
    assert caught.value.code == ErrorCode.TOO_LARGE


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"base64": "AP8="}, b"\x00\xff"),
        ({"base64": ""}, b""),
        ([1, {"deep": [{"base64": "YQ=="}]}], [1, {"deep": [b"a"]}]),
        ({"base64": "YQ==", "more": 1}, {"base64": "YQ==", "more": 1}),
        ({"base64": 5}, {"base64": 5}),
        ("plain ä\U0001f600", "plain ä\U0001f600"),
        (None, None),
        (b"already", b"already"),
    ],
)
def test_a_parameter_is_what_its_json_says(given: Any, expected: Any) -> None:
    assert decode_param(given) == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"base64": "YQ"}, "base64"),
        ({"base64": "Y*=="}, "base64"),
        ({"base64": "ä"}, "base64"),
        (["a\x00b"], "NUL"),
        ({"k\x00": 1}, "NUL"),
        ("\ud800", "surrogate"),
    ],
)
def test_what_no_database_takes_is_refused(given: Any, said: str) -> None:
    with pytest.raises(ToolError, match=said) as caught:
        decode_param(given)

    assert caught.value.code == ErrorCode.INVALID_ARGUMENT
    assert "base64" in caught.value.hint


def test_a_statement_is_text_a_database_takes() -> None:
    assert check_text("SELECT 'ä'", "the statement") == "SELECT 'ä'"
    with pytest.raises(ToolError, match="the statement holds a NUL"):
        check_text("SELECT '\x00'", "the statement")
