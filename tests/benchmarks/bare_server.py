"""The least that an MCP server can be: one tool that does nothing, on the `mcp` package itself."""

from mcp.server import MCPServer

server = MCPServer("bare")


@server.tool()
def empty() -> str:
    """Does nothing."""
    return ""


if __name__ == "__main__":
    server.run("stdio")
