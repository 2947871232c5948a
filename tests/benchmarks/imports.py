"""Budget of importing the SDK."""

import sys

from sandbox_sdk import SandboxGroup

from .baseline import program
from .budget import Row, absolute
from .measure import repeated

TIMES = 15
BUDGET_MS = 300


async def rows(_group: SandboxGroup) -> list[Row]:
    """Imports it in a new interpreter, and takes off what an interpreter alone costs."""
    alone = await repeated(lambda: program(sys.executable, "-c", ""), times=TIMES)
    with_sdk = await repeated(
        lambda: program(sys.executable, "-c", "import sandbox_sdk"), times=TIMES
    )
    return [absolute("import sandbox_sdk", with_sdk.less(alone.p50), at_most_ms=BUDGET_MS)]
