"""Budget of importing the SDK."""

import sys
from tempfile import TemporaryDirectory

from sandbox_sdk import SandboxGroup

from .baseline import program
from .budget import Row, absolute
from .measure import Sample, repeated

TIMES = 15
BUDGET_MS = 300
NEEDED = "import asyncio, pydantic; pydantic.BaseModel"


async def rows(_group: SandboxGroup) -> list[Row]:
    """Imports it in a new interpreter, and takes off what an interpreter alone costs."""
    with TemporaryDirectory() as cache:
        alone = await _interpreter("", cache)
        needed = await _interpreter(NEEDED, cache)
        with_sdk = await _interpreter("import sandbox_sdk", cache)
    row = absolute(
        "import sandbox_sdk",
        with_sdk.less(alone.p50),
        at_most_ms=BUDGET_MS,
        baseline=needed.less(alone.p50),
        against="asyncio, pydantic",
    )
    return [row]


async def _interpreter(code: str, cache: str) -> Sample:
    """Runs it with a cache of bytecode, as an installed package has one whatever the setting."""
    settings = ("-u", "PYTHONDONTWRITEBYTECODE", f"PYTHONPYCACHEPREFIX={cache}")
    return await repeated(
        lambda: program("env", *settings, sys.executable, "-c", code), times=TIMES
    )
