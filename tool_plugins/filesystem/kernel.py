"""The two system calls Python has no function for: `openat2` and `renameat2`."""

import ctypes
import errno
import os
import platform
import struct

_SYS_OPENAT2 = 437  # the same number on every architecture
_SYS_RENAMEAT2 = {"x86_64": 316, "aarch64": 276}.get(platform.machine())

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
_RENAME_NOREPLACE = 1
_TRIES = 64

_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_HOW = struct.Struct("QQQ")
_HOW_SIZE = ctypes.c_size_t(_HOW.size)
_NUMBER = ctypes.c_long(_SYS_OPENAT2)
_FLAG_NOREPLACE = ctypes.c_uint(_RENAME_NOREPLACE)


def openat2(folder: int, path: str, flags: int, resolve: int) -> int:
    """Opens `path` below the folder descriptor under the kernel's own `resolve` rules.

    The kernel answers EAGAIN when a rename anywhere on the machine raced with a `..` or a link in
    the path; the call is then repeated, a bounded number of times.
    """
    name = os.fsencode(path)
    how = _HOW.pack(flags | os.O_CLOEXEC, 0, resolve)
    number = errno.EAGAIN
    for _ in range(_TRIES):
        fd = _syscall(_NUMBER, folder, name, how, _HOW_SIZE)
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(number, os.strerror(number), path)


def openat2_works(folder: int) -> bool:
    """Whether this kernel, and the seccomp profile around us, allow `openat2`."""
    try:
        os.close(openat2(folder, ".", os.O_PATH, RESOLVE_BENEATH))
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):
            return False
        raise
    return True


def rename_noreplace(source_folder: int, source: str, folder: int, name: str) -> None:
    """Renames in one step and fails with EEXIST when the new name is taken."""
    if _SYS_RENAMEAT2 is None:
        raise OSError(errno.ENOSYS, "renameat2 is not known for this architecture", name)
    result = _syscall(
        ctypes.c_long(_SYS_RENAMEAT2),
        source_folder,
        os.fsencode(source),
        folder,
        os.fsencode(name),
        _FLAG_NOREPLACE,
    )
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
