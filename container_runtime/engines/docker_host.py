"""What the engine and its host are able to do, from one `info` record.

Pure but for the names of this machine, which tell whether the engine shares its files with us.
"""

import os
from dataclasses import dataclass
from typing import Any

from container_runtime.limits import HostFacts

from .docker_config import Reach

_SHARED_KERNEL = (
    "runtime {0!r} shares the host's kernel: no boundary against kernel flaws; "
    "use a runtime with a kernel of its own (kata) for hostile code"
)
_RUNC_FIXED = (1, 2, 8)


@dataclass(frozen=True, slots=True)
class EngineHost:
    """The facts of one engine, read once at connect."""

    version: str
    architecture: str
    runtimes: tuple[str, ...]
    default_runtime: str
    runc_version: str
    apparmor: bool
    userns: bool
    rootless: bool
    cgroup_version: int
    processors: int
    missing: dict[str, str]
    shares_files: bool
    """Whether the engine runs on this machine and sees the same folders and users."""

    local: bool
    """Whether the engine runs on this machine."""

    def facts(self, unavailable: str) -> HostFacts:
        """What limits can be enforced; `unavailable` says why no workspace can be mounted."""
        return HostFacts(
            cgroup_version=self.cgroup_version,
            workspace="tmpfs" if unavailable else "loop-ext4",
            workspace_reason=unavailable,
            missing=self.missing,
        )

    def warnings(self, reach: Reach, unavailable: str) -> tuple[str, ...]:
        """Sentences for an operator."""
        found = []
        if self.default_runtime in ("runc", "crun"):
            found.append(_SHARED_KERNEL.format(self.default_runtime))
        if _older(self.runc_version, _RUNC_FIXED):
            found.append(
                f"runc {self.runc_version} is older than 1.2.8, which mended three escapes of "
                "November 2025; a distribution may have mended it under the old number: see its "
                "changelog"
            )
        if not self.userns:
            found.append("no user namespaces: a sandbox's init is the host's root, unprivileged")
        if not self.apparmor:
            found.append("no AppArmor: mounts and /proc have one wall fewer")
        if self.cgroup_version == 1:
            found.append("control groups v1: disk rates hold for direct I/O only")
        if unavailable:
            found.append(f"workspaces are kept in memory: {unavailable}")
        found += [f"limit {name!r} cannot be enforced: {why}" for name, why in self.missing.items()]
        return (*found, *_reach_warnings(reach))


def _reach_warnings(reach: Reach) -> tuple[str, ...]:
    if reach == "unix":
        return ()
    common = "endpoint is TCP: sandboxes have a network interface, and reach the engine's machine"
    if reach == "bridge":
        return (common + " at its gateway address; bind nothing there that trusts them",)
    return (
        common + "; bind nothing there that trusts them",
        "the token and all traffic cross the network in clear: keep the engine on a private one",
        "outgoing packets are not translated, so no answer returns, but single packets may leave",
    )


def read_host(info: dict[str, Any], version: dict[str, Any], url: str) -> EngineHost:
    """Facts out of the engine's own accounts of itself."""
    security = " ".join(info.get("SecurityOptions") or ())
    userns, rootless = "name=userns" in security, "name=rootless" in security
    local = url.startswith(("unix://", "http+unix://", "/")) and _is_here(info)
    return EngineHost(
        version=info.get("ServerVersion", "unknown"),
        architecture=info.get("Architecture", "x86_64"),
        runtimes=tuple(sorted(info.get("Runtimes") or ())),
        default_runtime=info.get("DefaultRuntime", ""),
        runc_version=_component(version, "runc"),
        apparmor="name=apparmor" in security,
        userns=userns,
        rootless=rootless,
        cgroup_version=int(info.get("CgroupVersion") or 1),
        processors=int(info.get("NCPU") or 1),
        missing=_missing(info),
        shares_files=local and not userns and not rootless,
        local=local,
    )


def _component(version: dict[str, Any], name: str) -> str:
    found = [c["Version"] for c in version.get("Components") or () if c.get("Name") == name]
    return str(found[0]) if found else ""


def _is_here(info: dict[str, Any]) -> bool:
    """Desktop engines and engines seen from within a container have another name or kernel."""
    here = os.uname()
    return info.get("Name") == here.nodename and info.get("KernelVersion") == here.release


def _missing(info: dict[str, Any]) -> dict[str, str]:
    needs = {"memory": "MemoryLimit", "cpu": "CpuCfsQuota", "pids": "PidsLimit"}
    return {
        facility: f"the engine reports no {field}"
        for facility, field in needs.items()
        if info.get(field) is False
    }


def _older(version: str, fixed: tuple[int, ...]) -> bool:
    numbers = []
    for part in version.split("+")[0].split("~")[0].split("-")[0].split("."):
        if not part.isdigit():
            return False
        numbers.append(int(part))
    return bool(numbers) and tuple(numbers) < fixed
