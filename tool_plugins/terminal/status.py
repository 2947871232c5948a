"""What runs in the sandbox, with what it uses and the ports it listens on."""

import os
from pathlib import Path
from typing import Any

from .process import Process
from .service import Terminal

LISTENING = "0A"
MAX_ENDED = 10
"""Ended processes in a list: enough to see what happened last, few enough to read."""

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def list_all(terminal: Terminal) -> dict[str, Any]:
    """The fields of the result of `terminal.list`."""
    sockets = _listening_sockets()
    rows = [_describe(process, sockets) for process in terminal.processes]
    ended = [row for row in rows if row["status"] != "running" and not row["pids"]]
    omitted = ended[:-MAX_ENDED]
    return {
        "processes": [row for row in rows if row not in omitted],
        "omitted": len(omitted),
        "sessions": [
            {
                "name": session.name,
                "cwd": session.cwd,
                "busy": session.current is not None,
                "process_id": session.current.id if session.current else None,
            }
            for session in terminal.sessions
        ],
    }


def _describe(process: Process, sockets: dict[str, int]) -> dict[str, Any]:
    pids = process.members()
    cpu = rss = 0
    for pid in pids:
        ticks, pages = _usage(pid)
        cpu += ticks
        rss += pages
    return {
        "id": process.id,
        "command": process.command[:500],
        "session": process.session,
        "status": process.status,
        "started_at": process.started_at.isoformat(),
        "exit_code": process.exit_code,
        "signal": process.state()["signal"],
        "pids": sorted(pids),
        "cpu_s": round(cpu / _TICKS, 2),
        "rss_bytes": rss * _PAGE,
        "ports": _ports(pids, sockets),
    }


def _usage(pid: int) -> tuple[int, int]:
    """CPU ticks and resident pages; nothing for a process that has just ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0, 0
    return int(fields[11]) + int(fields[12]), int(fields[21])


def _listening_sockets() -> dict[str, int]:
    """Ports by the inode of the socket that listens on them."""
    found: dict[str, int] = {}
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{name}").read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == LISTENING:
                found[fields[9]] = int(fields[1].rpartition(":")[2], 16)
    return found


def _ports(pids: set[int], sockets: dict[str, int]) -> list[int] | None:
    """The ports the processes listen on; None where their descriptors cannot be read."""
    found: set[int] = set()
    for pid in pids:
        try:
            links = [os.readlink(entry) for entry in os.scandir(f"/proc/{pid}/fd")]
        except PermissionError:
            return None
        except OSError:
            continue
        for link in links:
            if link.startswith("socket:[") and (port := sockets.get(link[8:-1])) is not None:
                found.add(port)
    return sorted(found)
