"""Values of rows, written as JSON again."""

import json
from typing import Any

import pytest

from sandbox_sdk.databases.population.values import as_json, parse_json


@pytest.mark.parametrize(
    "text",
    [
        "12.50",
        "1E+3",
        "0.10000000000000000000001",
        "12345678901234567890123",
        '{"a": [1.10, {"b": null, "c": true}], "d": "\\"x\\""}',
        "[]",
        "{}",
    ],
)
def test_json_comes_out_with_every_digit_it_went_in_with(text: str) -> None:
    assert text == as_json(parse_json(text))


@pytest.mark.parametrize("value", ["né\u2028\n", {"ключ": [1, "x"]}, -0.5, False])
def test_what_is_written_is_json(value: Any) -> None:
    assert value == json.loads(as_json(value))


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_json([float("nan")])
