"""What is known of custom tools. Values only; where they came from is not trusted by then.

A *build* is what a worker runs: a source and the packages beside it. A *version* is a build with
the descriptions it gave once, pinned: they are listed until another version takes its place.
"""

import hashlib
import json
import re
from functools import cached_property
from pathlib import PurePath
from typing import Any, Literal

from pydantic import Field

from tool_plugins.contract import ToolFailure, Value

Scope = Literal["group", "sandbox"]

_PATH = re.compile(r"(?:/[^/\s]+)*/([^/\s]+\.py)\b")


class CustomTool(Value):
    """One function, as it is listed. The schemas were checked (`schema.py`)."""

    namespace: str
    function: str
    description: str
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]
    context: bool = False
    line: int = 1

    @property
    def name(self) -> str:
        """The dotted name."""
        return f"{self.namespace}.{self.function}"

    @property
    def mcp_name(self) -> str:
        """The name over MCP."""
        return f"{self.namespace}_{self.function}"


class FileSettings(Value):
    """The table `[tool.sandbox-sdk]` of a file's `# /// script` block.

    `process="call"` starts a process for each call instead of keeping one warm. `timeout_s` is how
    long a call may take that does not say so itself.
    """

    process: Literal["file", "call"] = "file"
    timeout_s: float = Field(default=60.0, gt=0, le=3600)


class Source(Value):
    """A file before anything is known of it. `origin` says in words where it came from."""

    namespace: str
    text: str
    origin: str


class Environment(Value):
    """Installed packages. `key` is unguessable; `path` is their folder inside every sandbox."""

    key: str
    path: str


class Version(Value):
    """A file that works, and what it said of itself when it was registered."""

    source: Source
    environment: Environment | None = None
    description: str = ""
    dependencies: tuple[str, ...] = ()
    settings: FileSettings = Field(default_factory=FileSettings)
    tools: tuple[CustomTool, ...]
    warnings: tuple[str, ...] = ()

    # Both are made once, since a call needs one and a list all of the other; so no copies with
    # other fields are made of a version.
    @cached_property
    def build(self) -> str:
        """What a worker is started for: 32 hex digits over source and packages."""
        return build_of(self.source, self.environment)

    @cached_property
    def id(self) -> str:
        """16 hex digits that change with the build and with every description and schema."""
        tools = [each.model_dump(mode="json") for each in self.tools]
        pinned = json.dumps([self.build, self.description, tools], sort_keys=True)
        return hashlib.sha256(pinned.encode()).hexdigest()[:16]

    def tool(self, function: str) -> CustomTool | None:
        """The tool of that function."""
        return next((each for each in self.tools if each.function == function), None)


class Entry(Value):
    """What a shelf holds of a namespace: the last good version, and why a newer one failed."""

    namespace: str
    origin: str
    scope: Scope
    version: Version | None = None
    error: ToolFailure | None = None

    def without_paths(self) -> "Entry":
        """As sandboxes see a file of the operator: its name, and nothing of where it lies."""
        error = self.error
        if error is not None:
            error = error.model_copy(update={"message": _PATH.sub(r"\1", error.message)})
        return self.model_copy(update={"origin": PurePath(self.origin).name, "error": error})


def build_of(source: Source, environment: Environment | None) -> str:
    """See `Version.build`."""
    parts = (source.namespace, source.text, environment.key if environment else "")
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8) + data)
    return digest.hexdigest()[:32]
