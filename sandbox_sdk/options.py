"""Checks what a group and a sandbox are made with, before anything happens."""

import base64
import re
import secrets
from collections.abc import Mapping
from typing import Any

from container_runtime.spec import ComputeResources
from tool_plugins.errors import ConfigurationError

MAX_NAME_LENGTH = 100
NAME = re.compile(r"[^\x00-\x1f\x7f]+")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
RESERVED_PREFIX = "SANDBOX_"


def new_sandbox_id() -> str:
    """A fresh handle of 128 bits; also the container's name."""
    return "sbx-" + base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()


def refuse_unavailable(**arguments: Any) -> None:
    """Refuses every argument that carries something this version cannot honour.

    Raises:
        ConfigurationError: names the argument.
    """
    for name, value in arguments.items():
        if value is not None and value != [] and value != ():
            raise ConfigurationError(
                f"{name} is not available in this version", hint=f"leave {name} out"
            )


def check_resources(given: ComputeResources | None, default: ComputeResources) -> ComputeResources:
    """The resources of a sandbox.

    Raises:
        ConfigurationError: they are not `ComputeResources`.
    """
    if given is None:
        return default
    if not isinstance(given, ComputeResources):
        raise ConfigurationError(
            f"compute_resources is a {type(given).__name__}", hint="use ComputeResources(...)"
        )
    return given


def check_name(name: str) -> str:
    """A name for people: printable, not empty and not long.

    Raises:
        ConfigurationError: it is not.
    """
    if not isinstance(name, str) or len(name) > MAX_NAME_LENGTH or not NAME.fullmatch(name):
        raise ConfigurationError(
            f"bad name {name!r}", hint=f"use 1 to {MAX_NAME_LENGTH} printable characters"
        )
    return name


def check_environment(given: Mapping[str, str] | None) -> dict[str, str]:
    """Variables for everything that runs in the sandbox.

    Raises:
        ConfigurationError: a name is malformed or reserved, or a value cannot be passed on.
    """
    environment = dict(given or {})
    for name, value in environment.items():
        if not isinstance(name, str) or not VARIABLE.fullmatch(name):
            raise ConfigurationError(f"bad environment variable name {name!r}")
        if name.startswith(RESERVED_PREFIX):
            raise ConfigurationError(f"environment variable {name!r} is reserved")
        if not isinstance(value, str) or "\0" in value:
            raise ConfigurationError(f"bad value for environment variable {name!r}")
    return environment


def check_seconds(name: str, value: float | None) -> float | None:
    """A duration above zero, or None.

    Raises:
        ConfigurationError: it is neither.
    """
    if value is not None and not value > 0:
        raise ConfigurationError(f"{name} is {value!r}", hint="use a number above 0")
    return value
