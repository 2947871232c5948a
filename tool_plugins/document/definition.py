"""The document tool."""

from tool_plugins.contract import Annotations, ToolDefinition

from .arguments import ReadArguments
from .results import ReadResult

TOOLS = (
    ToolDefinition(
        name="document.read",
        description=(
            "Reads a PDF, DOCX, XLSX or HTML file of the workspace as Markdown. A long document "
            "comes in pieces: call again with offset=next_offset, or name pages. For plain text "
            "use filesystem_read."
        ),
        arguments=ReadArguments,
        result=ReadResult,
        annotations=Annotations("Read a document", read_only=True, idempotent=True),
        executor="tool_plugins.document.executor:read",
        timeout_argument="timeout_s",
        untrusted=("title", "content"),
    ),
)
