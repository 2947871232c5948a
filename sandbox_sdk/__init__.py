"""The async Python SDK: sandboxes for agents, each its own container.

    from sandbox_sdk import SandboxGroup

    async with SandboxGroup() as group, await group.create_sandbox() as sandbox:
        print((await sandbox.terminal.run("ls")).stdout)

Never speaks MCP. Importing it starts nothing and loads no database or container library.
"""

import importlib
from typing import TYPE_CHECKING, Any

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
    Action,
    ActionEvent,
    Attachment,
    ChangeEvent,
    ComputeResources,
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
    ToolFailure,
)
from .recovery import Recovered
from .sandbox import Sandbox

if TYPE_CHECKING:
    from tool_plugins.tool.results import CallResult, FileSummary, RegisterResult, ResultFile

    from .databases.access import (
        Access,
        ConnectionPool,
        Database,
        DatabaseAccess,
        DatabaseLimits,
        TableAccess,
    )
    from .egress.decision import EgressDecision
    from .egress.policy import EgressLimits, EgressPolicy, EgressRule, HeaderInjection
    from .search.provider import Hit, Query, SearchProvider

__all__ = (
    "LOCAL",
    "Access",
    "Action",
    "ActionEvent",
    "Attachment",
    "CallResult",
    "ChangeEvent",
    "ComputeResources",
    "ConfigurationError",
    "ConnectionPool",
    "Container",
    "Database",
    "DatabaseAccess",
    "DatabaseLimits",
    "EffectiveLimit",
    "EgressDecision",
    "EgressLimits",
    "EgressPolicy",
    "EgressRule",
    "Engine",
    "EngineError",
    "ErrorCode",
    "FileSummary",
    "FolderResult",
    "GoneCause",
    "GroupLimits",
    "HeaderInjection",
    "Hit",
    "HostCapabilities",
    "ImageError",
    "Observation",
    "ObservationEvent",
    "OutputEvent",
    "Principal",
    "ProgressEvent",
    "ProtocolError",
    "Query",
    "QuotaError",
    "Recovered",
    "RegisterResult",
    "ResultFile",
    "Sandbox",
    "SandboxError",
    "SandboxGoneError",
    "SandboxGroup",
    "SandboxInfo",
    "SandboxNotFoundError",
    "SandboxState",
    "SandboxStateError",
    "SearchProvider",
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


_LAZY = {
    "CallResult": "tool_plugins.tool.results",
    "EgressDecision": ".egress.decision",
    "EgressLimits": ".egress.policy",
    "EgressPolicy": ".egress.policy",
    "EgressRule": ".egress.policy",
    "FileSummary": "tool_plugins.tool.results",
    "HeaderInjection": ".egress.policy",
    "Hit": ".search.provider",
    "Query": ".search.provider",
    "RegisterResult": "tool_plugins.tool.results",
    "ResultFile": "tool_plugins.tool.results",
    "SearchProvider": ".search.provider",
}


def __getattr__(name: str) -> Any:
    """What describes databases, the network and custom tools is loaded when it is first named: most
    programs need none of it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_LAZY.get(name, ".databases.access"), __name__)
    return getattr(module, name)
