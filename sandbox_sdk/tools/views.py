"""What is known of custom tools, in the form it is shown."""

from collections.abc import Iterable, Sequence

from tool_plugins.tool.results import FileSummary, RegisterResult, ToolSummary

from .models import CustomTool, Entry, Version


def registered(version: Version, changes: Sequence[str]) -> RegisterResult:
    """What registering a file gives."""
    return RegisterResult(
        namespace=version.source.namespace,
        version=version.id,
        tools=[_tool(each, schemas=True) for each in version.tools],
        dependencies=list(version.dependencies),
        changes=list(changes),
        warnings=list(version.warnings),
    )


def summaries(entries: Iterable[Entry], *, schemas: bool) -> list[FileSummary]:
    """The files of a list."""
    return [_file(each, schemas=schemas) for each in entries]


def _file(entry: Entry, *, schemas: bool) -> FileSummary:
    version, error = entry.version, entry.error
    shown = FileSummary(
        namespace=entry.namespace,
        status="ready" if version else "failed",
        origin=entry.origin,
        scope=entry.scope,
        error=f"{error.code}: {error.message}" if error else "",
    )
    if version is None:
        return shown
    return shown.model_copy(
        update={
            "version": version.id,
            "description": version.description,
            "dependencies": list(version.dependencies),
            "tools": [_tool(each, schemas=schemas) for each in version.tools],
        }
    )


def _tool(tool: CustomTool, *, schemas: bool) -> ToolSummary:
    return ToolSummary(
        name=tool.name,
        mcp_name=tool.mcp_name,
        description=tool.description,
        input_schema=tool.input_schema if schemas else None,
        output_schema=tool.output_schema if schemas else None,
    )
