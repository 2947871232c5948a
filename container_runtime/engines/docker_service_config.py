"""The record that creates a service container: what widens one is here and nowhere else.

A service has no capability, no way to gain one, and a network without a way out. Its root file
system stays writable, because public images write their configuration at start; its user may not
write to what the image holds.
"""

from pathlib import Path
from typing import Any, Literal

from container_runtime.limits import MIB, SHM_MB
from container_runtime.service import ServiceInfo, ServiceSpec
from tool_plugins.errors import ConfigurationError, EngineError

from .docker_config import (
    CPU_PERIOD_US,
    MASKED_PATHS,
    PREFIX,
    isolation,
    seccomp_profile,
)

SERVICE_LABEL = f"{PREFIX}service"
"""Whose service it is. Not the label of sandboxes: their inventory must not show it."""

PORT_LABEL = f"{PREFIX}port"
REACH_LABEL = f"{PREFIX}reach"
DATA_LABEL = f"{PREFIX}data"

ServiceReach = Literal["bridge", "published"]
"""An address on a bridge of this machine, or a port the engine's machine publishes."""


def service_body(
    spec: ServiceSpec, *, state: str, reach: ServiceReach, data: Path | None, apparmor: bool
) -> dict[str, Any]:
    """The raw body of the engine's create call. `data` is a host folder to bind, or None."""
    if reserved := sorted(name for name in spec.labels if name.startswith(PREFIX)):
        raise ConfigurationError(f"labels {', '.join(reserved)} are reserved")
    own = {SERVICE_LABEL: state, PORT_LABEL: str(spec.port), REACH_LABEL: reach}
    if data is not None:
        own[DATA_LABEL] = str(data)
    return {
        "Image": spec.image,
        "Hostname": "service",
        "User": spec.user,
        "Env": [f"{name}={value}" for name, value in spec.environment.items()],
        "Labels": {**spec.labels, **own},
        "OpenStdin": False,
        "Tty": False,
        "AttachStdin": False,
        "StopSignal": "SIGTERM",
        "ExposedPorts": {f"{spec.port}/tcp": {}},
        "HostConfig": _host_config(spec, reach, data, apparmor=apparmor),
    }


def _host_config(
    spec: ServiceSpec, reach: ServiceReach, data: Path | None, *, apparmor: bool
) -> dict[str, Any]:
    security = ["no-new-privileges:true", f"seccomp={seccomp_profile()}"]
    if apparmor:
        security.append("apparmor=docker-default")
    rlimits = {"nofile": spec.open_files, "core": 0, "fsize": spec.file_mb * MIB}
    config: dict[str, Any] = {
        **isolation(),
        "CapAdd": [],
        "SecurityOpt": security,
        "ReadonlyRootfs": False,
        "NetworkMode": spec.name,
        "MaskedPaths": MASKED_PATHS,
        "Memory": spec.memory_mb * MIB,
        "MemorySwap": spec.memory_mb * MIB,
        "PidsLimit": spec.pids,
        "CpuPeriod": CPU_PERIOD_US,
        "CpuQuota": int(spec.cpus * CPU_PERIOD_US),
        "ShmSize": SHM_MB * MIB,
        "Ulimits": [{"Name": n, "Soft": v, "Hard": v} for n, v in rlimits.items()],
    }
    if reach == "published":
        config["PortBindings"] = {f"{spec.port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    if data is not None:
        bind = {"Type": "bind", "Source": str(data), "Target": spec.data}
        config["Mounts"] = [bind | {"BindOptions": {"Propagation": "rprivate"}}]
    return config


def service_info(record: dict[str, Any]) -> ServiceInfo:
    """What an inspected service container is."""
    config = record["Config"]
    return ServiceInfo(
        name=record["Name"].removeprefix("/"),
        labels={k: v for k, v in config["Labels"].items() if not k.startswith(PREFIX)},
        environment=dict(line.partition("=")[::2] for line in config.get("Env") or ()),
        running=record["State"]["Running"],
        exit_code=record["State"]["ExitCode"],
    )


def service_port(record: dict[str, Any]) -> tuple[int, ServiceReach]:
    """Which port an inspected service listens on, and how it is reached.

    Raises:
        EngineError: the container was not made by this version.
    """
    labels = record["Config"]["Labels"]
    try:
        return int(labels[PORT_LABEL]), labels[REACH_LABEL]
    except (KeyError, ValueError) as error:
        raise EngineError(
            f"service container {record.get('Name', '')!r} carries no readable port",
            hint="it was made by another version: remove it",
        ) from error
