"""Extensions that tests load by name."""

import mcp.types as types

from mcp_server.extension import Context, ExtensionPrompt, ExtensionTool, ServerExtension


async def _hello(_ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
    size = int((params.arguments or {}).get("size", 5))
    return types.CallToolResult(content=[types.TextContent(text="hello"[:size].ljust(size))])


async def _greeting(_ctx: Context, _params: types.GetPromptRequestParams) -> types.GetPromptResult:
    message = types.PromptMessage(role="user", content=types.TextContent(text="greet"))
    return types.GetPromptResult(messages=[message])


def hello(name: str = "demo_hello") -> ExtensionTool:
    """A tool that says hello, padded to `size` characters."""
    schema = {"type": "object", "properties": {"size": {"type": "integer"}}}
    definition = types.Tool(name=name, description="Says hello.", input_schema=schema)
    return ExtensionTool(definition, _hello)


greeting = ExtensionPrompt(types.Prompt(name="greeting"), _greeting)
one = ServerExtension("one", tools=(hello(),), prompts=(greeting,))
other = ServerExtension("other", tools=(hello(),))
