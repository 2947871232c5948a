"""Sources that are imported here and described. No process of their own: it would take longer."""

import sys
from collections.abc import Callable, Iterator
from textwrap import dedent
from typing import Any

import pytest

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.tool.describing import describe
from tool_plugins.tool.loading import Loaded, import_file

HEAD = "from typing import *\nfrom pydantic import *\n"
Make = Callable[[str], Loaded]
Describe = Callable[[str], dict[str, Any]]
Refuse = Callable[[str], ToolError]


@pytest.fixture
def make() -> Iterator[Make]:
    """Imports a source; the module is gone afterwards."""
    yield lambda source: import_file("my_tools", dedent(source))
    sys.modules.pop("tool:my_tools", None)


@pytest.fixture
def described(make: Make) -> Describe:
    """The only function of a source."""

    def described(source: str) -> dict[str, Any]:
        (function,) = describe(make(source))["functions"]
        return function

    return described


@pytest.fixture
def refused(make: Make) -> Refuse:
    """The error of a source that cannot be described."""

    def refused(source: str) -> ToolError:
        with pytest.raises(ToolError) as caught:
            describe(make(source))
        assert caught.value.code is ErrorCode.SCHEMA_ERROR
        return caught.value

    return refused
