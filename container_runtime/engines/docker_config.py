"""The record that creates a hardened container, and the check that the engine kept to it.

Pure: turns a specification into the engine's raw form. Every field that widens a sandbox is here
and nowhere else.
"""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from container_runtime.limits import MIB, SHM_MB, spool_mb
from container_runtime.spec import (
    EGRESS_SOCKET,
    ENVIRONMENTS,
    RUN,
    WORKSPACE,
    ComputeResources,
    ContainerSpec,
    EffectiveLimit,
)
from tool_plugins.errors import ConfigurationError, EngineError

PREFIX = "io.sandbox-sdk."
SPEC_LABEL = f"{PREFIX}spec"
STATE_LABEL = f"{PREFIX}state"
RESERVED_ENVIRONMENT = "SANDBOX_"
TOKEN_VARIABLE = "SANDBOX_TOKEN"  # noqa: S105 - a name
REACH_LABEL = f"{PREFIX}reach"
CAPABILITIES = ("KILL", "SETGID", "SETPCAP", "SETUID")
"""What the action server needs to take its two users; it drops the rest of them itself."""

CPU_PERIOD_US = 100_000
INODES_PER_MB = 256
LOG_CONFIG = {"max-size": "1m", "max-file": "1", "compress": "false"}
READONLY_PATHS = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
MASKED_PATHS = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
]


Reach = Literal["unix", "bridge", "published"]
"""How the action server is reached: a shared socket, an address on a bridge of this machine, or
a port the engine's machine publishes."""

PORT = 8765
"""Where an action server listens inside its own network namespace."""


LIMIT_FIELDS_BY_NAME = {
    "memory_mb": "Memory",
    "pids": "PidsLimit",
    "cpus": "CpuQuota",
    "disk_read_mb_s": "BlkioDeviceReadBps",
    "disk_write_mb_s": "BlkioDeviceWriteBps",
    "disk_read_iops": "BlkioDeviceReadIOps",
    "disk_write_iops": "BlkioDeviceWriteIOps",
}
LIMIT_FIELDS = frozenset({*LIMIT_FIELDS_BY_NAME.values(), "MemorySwap", "CpuPeriod", "CpuShares"})
"""What an engine may drop with a warning where the caller accepts best effort. All else must be
kept as asked, always."""

_CONFIG_FIELDS = ("User", "StopSignal")


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach one action server; `token` is empty for a socket."""

    reach: Reach
    token: str = ""


@dataclass(frozen=True, slots=True)
class Placement:
    """What a container needs from its host beside its specification.

    `run`, `workspace` and `packages` are host folders to bind, None where the host shares none;
    `device` is the block device behind the workspace.
    """

    image: str
    state: str
    server_uid: int
    access: Access
    run: Path | None
    workspace: Path | None
    packages: Path | None = None
    device: str | None = None
    apparmor: bool = False
    processors: int = 1


def seccomp_profile() -> str:
    """Our own system call filter, as JSON text."""
    return files("container_runtime").joinpath("seccomp.json").read_text()


def create_body(spec: ContainerSpec, place: Placement) -> dict[str, Any]:
    """The raw body of the engine's create call."""
    body: dict[str, Any] = {
        "Image": place.image,
        "Hostname": "sandbox",
        "User": "0:0",
        "WorkingDir": WORKSPACE,
        "Env": [f"{name}={value}" for name, value in _environment(spec, place).items()],
        "Labels": _labels(spec, place),
        "OpenStdin": False,
        "Tty": False,
        "AttachStdin": False,
        "StopSignal": "SIGKILL",
        "StopTimeout": 1,
        "NetworkDisabled": place.access.reach == "unix",
        "HostConfig": _host_config(spec, place),
    }
    if place.access.reach == "published":
        body["ExposedPorts"] = {f"{PORT}/tcp": {}}
    return body


def _environment(spec: ContainerSpec, place: Placement) -> dict[str, str]:
    reserved = sorted(n for n in spec.environment if n.startswith(RESERVED_ENVIRONMENT))
    if reserved:
        raise ConfigurationError(
            f"environment variables {', '.join(reserved)} are reserved",
            hint=f"choose names that do not begin with {RESERVED_ENVIRONMENT}",
        )
    own = {
        "SANDBOX_SERVER_UID": str(place.server_uid),
        "SANDBOX_AGENT_UID": str(spec.agent_uid),
        "SANDBOX_WORKSPACE": WORKSPACE,
        "SANDBOX_TMP": "/tmp",  # noqa: S108 - the sandbox's own tmpfs
        "SANDBOX_SPOOL": "/run/spool",
    }
    if place.access.reach == "unix":
        own["SANDBOX_SOCKET"] = f"{RUN}/control/action.sock"
    else:
        own |= {"SANDBOX_LISTEN": f"0.0.0.0:{PORT}", TOKEN_VARIABLE: place.access.token}
    if spec.egress:
        own["SANDBOX_EGRESS"] = _egress(place)
    return {**spec.environment, **own}


def _egress(place: Placement) -> str:
    if place.run is None:
        raise ConfigurationError(
            "this engine shares no folder with its containers, so no proxy can be reached from "
            "them",
            hint="leave egress_policy out, or use an engine on this machine",
        )
    return f"{RUN}/{EGRESS_SOCKET}"


def _labels(spec: ContainerSpec, place: Placement) -> dict[str, str]:
    reserved = sorted(name for name in spec.labels if name.startswith(PREFIX))
    if reserved:
        raise ConfigurationError(f"labels {', '.join(reserved)} are reserved")
    own = {SPEC_LABEL: spec.model_dump_json(), STATE_LABEL: place.state}
    return {**spec.labels, **own, REACH_LABEL: place.access.reach}


def restore_spec(record: dict[str, Any]) -> ContainerSpec:
    """The specification out of an inspected container's labels.

    Raises:
        EngineError: the label is missing or was written by another version.
    """
    try:
        return ContainerSpec.model_validate_json(record["Config"]["Labels"][SPEC_LABEL])
    except (KeyError, ValueError) as error:
        raise EngineError(
            f"container {record.get('Name', '')!r} carries no readable specification",
            hint="it was made by another version: remove it",
        ) from error


def restore_access(record: dict[str, Any]) -> Access:
    """How an inspected container is reached."""
    reach = record["Config"]["Labels"].get(REACH_LABEL, "unix")
    variables = dict(line.partition("=")[::2] for line in record["Config"].get("Env") or ())
    return Access(reach, variables.get(TOKEN_VARIABLE, ""))


def isolation() -> dict[str, Any]:
    """What no container of ours differs in: no capability but those added, nothing of its host."""
    return {
        "Privileged": False,
        "CapDrop": ["ALL"],
        "IpcMode": "private",
        "PidMode": "",
        "UTSMode": "",
        "UsernsMode": "",
        "CgroupnsMode": "private",
        "LogConfig": {"Type": "local", "Config": LOG_CONFIG},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": False,
        "Devices": [],
        "DeviceCgroupRules": [],
        "PublishAllPorts": False,
        "ReadonlyPaths": READONLY_PATHS,
    }


def _host_config(spec: ContainerSpec, place: Placement) -> dict[str, Any]:
    security = ["no-new-privileges:true", f"seccomp={seccomp_profile()}"]
    if place.apparmor:
        security.append("apparmor=docker-default")
    config: dict[str, Any] = {
        **isolation(),
        "CapAdd": list(CAPABILITIES),
        "SecurityOpt": security,
        "ReadonlyRootfs": True,
        "NetworkMode": "none" if place.access.reach == "unix" else spec.name,
        "MaskedPaths": MASKED_PATHS + _throttle_counters(place.processors),
        **_resources(spec.resources),
        **_storage(spec, place),
    }
    if spec.resources.runtime:
        config["Runtime"] = spec.resources.runtime
    if place.access.reach == "published":
        config["PortBindings"] = {f"{PORT}/tcp": [{"HostIp": "", "HostPort": ""}]}
    return config


def _throttle_counters(processors: int) -> list[str]:
    """Counters that tell neighbours' load, one folder for each processor."""
    return [f"/sys/devices/system/cpu/cpu{n}/thermal_throttle" for n in range(processors)]


def _resources(resources: ComputeResources) -> dict[str, Any]:
    memory = resources.memory_mb * MIB
    largest = max(resources.workspace_mb, resources.tmp_mb) * MIB
    rlimits = {
        "nofile": resources.open_files,
        "core": 0,
        "fsize": largest,
        "memlock": 65_536,
        "msgqueue": 0,
    }
    return {
        "Memory": memory,
        "MemorySwap": memory,
        "OomKillDisable": False,
        "OomScoreAdj": 500,
        "PidsLimit": resources.pids,
        "CpuPeriod": CPU_PERIOD_US,
        "CpuQuota": int(resources.cpus * CPU_PERIOD_US),
        "CpuShares": 512,
        "ShmSize": SHM_MB * MIB,
        "Ulimits": [{"Name": n, "Soft": v, "Hard": v} for n, v in rlimits.items()],
    }


def _storage(spec: ContainerSpec, place: Placement) -> dict[str, Any]:
    resources, uid = spec.resources, spec.agent_uid
    tmpfs = {
        "/tmp": _tmpfs(resources.tmp_mb, uid, "noexec,"),  # noqa: S108 - inside the sandbox
        "/run/spool": _tmpfs(spool_mb(resources), uid, "noexec,"),
    }
    mounts = []
    if place.run is not None:
        mounts.append(_bind(place.run, RUN))
        mounts.append(_bind(place.run / "hosts", "/etc/hosts") | {"ReadOnly": True})
    else:
        tmpfs[RUN] = _tmpfs(1, 0, "noexec,", mode="0711")
    if place.workspace is not None:
        mounts.append(_bind(place.workspace, WORKSPACE))
    else:
        tmpfs[WORKSPACE] = _tmpfs(resources.workspace_mb, uid, "exec,", mode="0755")
    if spec.environments:
        mounts.append(_bind(_packages(place), ENVIRONMENTS) | {"ReadOnly": True})
    return {"Tmpfs": tmpfs, "Mounts": mounts, **_throttles(resources, place.device)}


def _packages(place: Placement) -> Path:
    if place.packages is None:
        raise ConfigurationError(
            "this engine shares no folder with its containers, so no packages can be put into them",
            hint="use an engine on this machine, or tools that need no packages",
        )
    return place.packages


def _tmpfs(size_mb: int, uid: int, flags: str, mode: str = "0700") -> str:
    inodes = size_mb * INODES_PER_MB
    return (
        f"rw,{flags}nosuid,nodev,size={size_mb}m,nr_inodes={inodes},mode={mode},uid={uid},gid={uid}"
    )


def _bind(source: Path, target: str) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": str(source),
        "Target": target,
        "BindOptions": {"Propagation": "rprivate"},
    }


def _throttles(resources: ComputeResources, device: str | None) -> dict[str, Any]:
    """Rates on the workspace's device."""
    rates = {
        "BlkioDeviceReadBps": resources.disk_read_mb_s and int(resources.disk_read_mb_s * MIB),
        "BlkioDeviceWriteBps": resources.disk_write_mb_s and int(resources.disk_write_mb_s * MIB),
        "BlkioDeviceReadIOps": resources.disk_read_iops,
        "BlkioDeviceWriteIOps": resources.disk_write_iops,
    }
    if device is None:
        return {}
    return {name: [{"Path": device, "Rate": rate}] for name, rate in rates.items() if rate}


def differences(asked: dict[str, Any], inspected: dict[str, Any]) -> list[tuple[str, str]]:
    """Every field that the engine keeps otherwise than asked: its name and what happened."""
    kept = {**inspected["HostConfig"], **{f: inspected["Config"].get(f) for f in _CONFIG_FIELDS}}
    wanted = {**asked["HostConfig"], **{field: asked[field] for field in _CONFIG_FIELDS}}
    return [
        (name, f"{name}: asked {value!r}, kept {kept.get(name)!r}")
        for name, value in wanted.items()
        if _normal(name, value) != _normal(name, kept.get(name))
    ]


def discarded(
    table: tuple[EffectiveLimit, ...], inspected: dict[str, Any]
) -> tuple[EffectiveLimit, ...]:
    """The table, with class "none" for each limit that the engine dropped."""
    kept = inspected["HostConfig"]

    def judged(limit: EffectiveLimit) -> EffectiveLimit:
        field = LIMIT_FIELDS_BY_NAME.get(limit.name)
        if field is None or limit.limit_class == "none" or kept.get(field):
            return limit
        lost = {"effective": None, "mechanism": "none", "limit_class": "none"}
        return limit.model_copy(update={**lost, "note": "the engine discarded it"})

    return tuple(judged(limit) for limit in table)


def _normal(name: str, value: Any) -> Any:
    """One form for what engines of different age write differently."""
    if name in ("CapAdd", "CapDrop"):
        return sorted(str(item).removeprefix("CAP_") for item in value or ())
    if name == "OomKillDisable":
        return bool(value)  # an engine without the facility answers null
    if name == "Ulimits":
        return sorted((item["Name"], item["Soft"], item["Hard"]) for item in value or ())
    if name == "Mounts":
        return sorted(
            (item["Type"], item["Source"], item["Target"], bool(item.get("ReadOnly")))
            for item in value or ()
        )
    return value or None
