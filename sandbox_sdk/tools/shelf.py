"""The custom tools there are, by name. A sandbox has a shelf of its own above that of its group."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tool_plugins.contract import ToolFailure

from .models import CustomTool, Entry, Scope, Source, Version


class Found(NamedTuple):
    """A tool and the version it belongs to: a call keeps both, whatever is registered meanwhile."""

    version: Version
    tool: CustomTool


class Shelf:
    """Files by namespace, each with its last good version. In memory, changed at once or not.

    What is on it hides a file of the same namespace on the shelf `below`.
    """

    def __init__(self, scope: Scope, below: "Shelf | None" = None) -> None:
        self._scope: Scope = scope
        self._below = below
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, Found] = {}

    def find(self, name: str) -> Found | None:
        """The tool of that dotted name, or of that name over MCP."""
        found = self._names.get(name)
        if found is not None or self._below is None:
            return found
        found = self._below.find(name)
        return None if found is None or found.tool.namespace in self._entries else found

    def get(self, namespace: str) -> Entry | None:
        """What this shelf itself holds of a namespace."""
        return self._entries.get(namespace)

    @property
    def own(self) -> tuple[Entry, ...]:
        """What this shelf itself holds."""
        return tuple(self._entries.values())

    def is_below(self, version: Version) -> bool:
        """Whether it is what the shelf below has now."""
        if self._below is None:
            return False
        entry = self._below.get(version.source.namespace)
        return entry is not None and entry.version is version

    def entries(self) -> Iterator[Entry]:
        """Every file that can be seen here, those of the group first."""
        if self._below is not None:
            for entry in self._below.entries():
                if entry.namespace not in self._entries:
                    yield entry.without_paths()
        yield from self._entries.values()

    def tools(self) -> list[CustomTool]:
        """Every tool that can be seen here, in the order of its file; none has another's name.

        A file may come to the group after one of that name was registered here.
        """
        mine = {tool.mcp_name.lower() for e in self.own if e.version for tool in e.version.tools}
        return [
            tool
            for each in self.entries()
            if each.version
            for tool in each.version.tools
            if each.scope == self._scope or tool.mcp_name.lower() not in mine
        ]

    def builds(self) -> set[str]:
        """What workers may be needed for."""
        return {each.version.build for each in self.entries() if each.version}

    def places(self, but: str) -> Mapping[str, str]:
        """Where each name over MCP comes from, without the namespace `but` of this shelf."""
        return {
            tool.mcp_name: each.origin
            for each in self.entries()
            if each.version and not (each.namespace == but and each.scope == self._scope)
            for tool in each.version.tools
        }

    def may_replace(self, entry: Entry, source: Source) -> bool:
        """Whether a source may take the place of a file that can be seen here.

        In a sandbox the newest wins over what was registered there. Files of a group are an
        operator's: two of one name are a mistake.
        """
        if entry.scope != self._scope:
            return False
        return self._scope == "sandbox" or entry.origin == source.origin

    def put(self, version: Version) -> Version | None:
        """Makes a version the one that is listed and called; gives the one before."""
        source = version.source
        before = self._version(source.namespace)
        self._set(
            Entry(
                namespace=source.namespace,
                origin=source.origin,
                scope=self._scope,
                version=version,
            )
        )
        return before

    def fail(self, source: Source, error: ToolFailure) -> None:
        """Notes that a newer file does not work. The last good version stays."""
        before = self._entries.get(source.namespace)
        if before is not None:
            self._set(before.model_copy(update={"error": error}))
            return
        entry = Entry(
            namespace=source.namespace, origin=source.origin, scope=self._scope, error=error
        )
        self._set(entry)

    def remove(self, namespace: str) -> Entry | None:
        """Takes a file away; gives what was there."""
        entry = self._entries.pop(namespace, None)
        self._index()
        return entry

    def _version(self, namespace: str) -> Version | None:
        entry = self._entries.get(namespace)
        return entry.version if entry else None

    def _set(self, entry: Entry) -> None:
        self._entries[entry.namespace] = entry
        self._index()

    def _index(self) -> None:
        self._names = {
            name: Found(entry.version, tool)
            for entry in self._entries.values()
            if entry.version
            for tool in entry.version.tools
            for name in (tool.name, tool.mcp_name)
        }
