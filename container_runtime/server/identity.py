"""Who the server is: not root, not the agent, and without any right it does not need.

It starts as root with four capabilities and ends as the server's user with three: SETUID and
SETGID to start processes as the agent, KILL to end them. Files it touches with the agent's rights,
because its file system identity (fsuid, fsgid) is the agent's; its other ids stay its own, so agent
code can neither signal, trace nor read it. Must run before the first thread starts: threads inherit
the identity of the thread that starts them, and nothing changes it afterwards.
"""

import ctypes
import os
import threading
from pathlib import Path

CAP_KILL, CAP_SETGID, CAP_SETUID = 5, 6, 7
KEPT = 1 << CAP_KILL | 1 << CAP_SETGID | 1 << CAP_SETUID

PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
INVALID_ID = 0xFFFFFFFF
CAPABILITY_VERSION_3 = 0x20080522

LIBC = ctypes.CDLL(None, use_errno=True)


class CapabilityHeader(ctypes.Structure):
    """`struct __user_cap_header_struct` of capset(2)."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class CapabilityData(ctypes.Structure):
    """`struct __user_cap_data_struct` of capset(2); version 3 wants two of them."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def become_server(server_uid: int) -> None:
    """Gives up root for the server's user, keeping three capabilities.

    Raises:
        OSError: the kernel refused; the server must not go on.
    """
    if threading.active_count() != 1:
        raise RuntimeError("the identity must be set before any thread starts")
    if LIBC.setfsuid(ctypes.c_uint32(INVALID_ID)) < 0:
        # gVisor's, for one. A kernel without it could not keep the agent's rights apart from ours.
        raise OSError(ctypes.get_errno(), "the kernel of this runtime has no setfsuid")
    # No exec, not even one by root, can gain a capability from here on.
    for capability in range(_last_capability() + 1):
        _prctl(PR_CAPBSET_DROP, capability)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    _prctl(PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(server_uid, server_uid, server_uid)
    os.setresuid(server_uid, server_uid, server_uid)
    _prctl(PR_SET_KEEPCAPS, 0)
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    _keep(KEPT)
    _prctl(PR_SET_DUMPABLE, 0)


def touch_files_as(uid: int) -> None:
    """Makes every later file operation of this thread, and threads it starts, the agent's.

    Raises:
        PermissionError: the kernel did not accept it.
    """
    # Neither call reports failure; asking again with an invalid id gives the current one.
    LIBC.setfsgid(ctypes.c_uint32(uid))
    LIBC.setfsuid(ctypes.c_uint32(uid))
    invalid = ctypes.c_uint32(INVALID_ID)
    if LIBC.setfsgid(invalid) != uid or LIBC.setfsuid(invalid) != uid:
        raise PermissionError(f"cannot touch files as user {uid}")
    _prctl(PR_SET_DUMPABLE, 0)


def _last_capability() -> int:
    return int(Path("/proc/sys/kernel/cap_last_cap").read_text())


def _prctl(option: int, value: int) -> None:
    arguments = [ctypes.c_ulong(n) for n in (value, 0, 0, 0)]
    if LIBC.prctl(ctypes.c_int(option), *arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}, {value}): {os.strerror(number)}")


def _keep(capabilities: int) -> None:
    header = CapabilityHeader(CAPABILITY_VERSION_3, 0)
    data = (CapabilityData * 2)(CapabilityData(capabilities, capabilities, 0))
    if LIBC.capset(ctypes.byref(header), data) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"capset: {os.strerror(number)}")
