"""Runs every budget group, prints the table, and ends with exit code 1 when a budget is over.

python -m tests.benchmarks [group ...]
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable

from sandbox_sdk import SandboxGroup

from . import actions, databases, egress, imports, lifecycle, load, mcp_call, memory, tools
from .budget import Row, table

Group = Callable[[SandboxGroup], Awaitable[list[Row]]]

GROUPS: dict[str, Group] = {
    "import": imports.rows,
    "actions": actions.rows,
    "lifecycle": lifecycle.rows,
    "mcp": mcp_call.rows,
    "load": load.rows,
    "memory": memory.rows,
    "databases": databases.rows,
    "egress": egress.rows,
    "tools": tools.rows,
}
NOT_YET = "Not measured: claiming a warm sandbox, because there is no warm pool yet."


async def measure(names: list[str]) -> list[Row]:
    """The rows of the named groups."""
    rows: list[Row] = []
    async with SandboxGroup(name="benchmarks") as group:
        for name in names:
            print(f"measuring: {name} ...", file=sys.stderr, flush=True)
            rows += await GROUPS[name](group)
    return rows


def main() -> int:
    """Reads the command line and runs."""
    names = sys.argv[1:] or list(GROUPS)
    unknown = [name for name in names if name not in GROUPS]
    if unknown:
        print(f"unknown groups {unknown}; known: {', '.join(GROUPS)}", file=sys.stderr)
        return 2
    rows = asyncio.run(measure(names))
    print(f"\n{table(rows)}\n\n{NOT_YET}")
    over = [row.what for row in rows if not row.holds]
    print(f"{len(rows) - len(over)} of {len(rows)} budgets hold.")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
