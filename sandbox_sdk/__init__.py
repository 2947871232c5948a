"""The async Python SDK: sandboxes for agents, each its own container.

    from sandbox_sdk import SandboxGroup

    async with SandboxGroup() as group, await group.create_sandbox() as sandbox:
        print((await sandbox.terminal.run("ls")).stdout)

Never speaks MCP. Importing it starts nothing and loads no database or container library.
"""

from container_runtime.connection import FolderResult, UploadResult
from container_runtime.engine import Container, Engine
from tool_plugins.contract import ToolDefinition
from tool_plugins.errors import (
    ConfigurationError,
    EngineError,
    ErrorCode,
    ImageError,
    ProtocolError,
    QuotaError,
    SandboxError,
    SandboxGoneError,
    SandboxNotFoundError,
    SandboxStateError,
    ToolCallError,
    UnenforceableLimitError,
    UnknownToolError,
)
from tool_plugins.registry import ToolRegistry, load_registry

from .config import Settings
from .group import SandboxGroup
from .models import (
    LOCAL,
    Access,
    Action,
    ActionEvent,
    Attachment,
    ChangeEvent,
    ComputeResources,
    ConnectionPool,
    Database,
    DatabaseAccess,
    DatabaseLimits,
    EffectiveLimit,
    GoneCause,
    GroupLimits,
    HostCapabilities,
    Observation,
    ObservationEvent,
    OutputEvent,
    Principal,
    ProgressEvent,
    SandboxInfo,
    SandboxState,
    TableAccess,
    ToolFailure,
)
from .recovery import Recovered
from .sandbox import Sandbox

__all__ = (
    "LOCAL",
    "Access",
    "Action",
    "ActionEvent",
    "Attachment",
    "ChangeEvent",
    "ComputeResources",
    "ConfigurationError",
    "ConnectionPool",
    "Container",
    "Database",
    "DatabaseAccess",
    "DatabaseLimits",
    "EffectiveLimit",
    "Engine",
    "EngineError",
    "ErrorCode",
    "FolderResult",
    "GoneCause",
    "GroupLimits",
    "HostCapabilities",
    "ImageError",
    "Observation",
    "ObservationEvent",
    "OutputEvent",
    "Principal",
    "ProgressEvent",
    "ProtocolError",
    "QuotaError",
    "Recovered",
    "Sandbox",
    "SandboxError",
    "SandboxGoneError",
    "SandboxGroup",
    "SandboxInfo",
    "SandboxNotFoundError",
    "SandboxState",
    "SandboxStateError",
    "Settings",
    "TableAccess",
    "ToolCallError",
    "ToolDefinition",
    "ToolFailure",
    "ToolRegistry",
    "UnenforceableLimitError",
    "UnknownToolError",
    "UploadResult",
    "load_registry",
)
