"""Scene: what a client sees first."""

from .player import Player

EXPECTED = {
    "sandbox_create", "sandbox_list", "sandbox_get", "sandbox_end",
    "filesystem_read", "filesystem_write", "filesystem_edit", "filesystem_list",
    "filesystem_glob", "filesystem_grep", "filesystem_move", "filesystem_delete",
    "terminal_run", "terminal_read", "terminal_write", "terminal_kill", "terminal_list",
}  # fmt: skip


async def play(player: Player) -> None:
    """Lists the tools."""
    stage = player.stage
    server = player.client.server_info
    stage.say(
        f"Connected to {server.name if server else 'the server'} over stdio, "
        f"MCP revision {player.client.protocol_version}. It offers these tools:"
    )
    listing = await player.client.list_tools()
    stage.show("\n".join(f"{tool.name:<20}{_first_sentence(tool)}" for tool in listing.tools))
    names = {tool.name for tool in listing.tools}
    stage.claim(names >= EXPECTED, f"all {len(EXPECTED)} expected tools are there")
    stage.claim(
        all(tool.input_schema and tool.output_schema for tool in listing.tools),
        "every tool says what it takes and what it gives",
    )


def _first_sentence(tool: object) -> str:
    description = str(getattr(tool, "description", "") or "")
    return description.split("\n")[0].split(". ")[0].rstrip(".")
