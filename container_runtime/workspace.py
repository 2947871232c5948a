"""The size-limited folder a sandbox works in, as one ext4 file behind a loop device.

Needs root on the machine the engine runs on. The kernel itself refuses what does not fit
(`ENOSPC`, inodes included); the file is sparse, so an empty workspace costs next to nothing.
Never touches files inside a workspace, but for the first `chown` of its root.
"""

import asyncio
import ctypes
import errno
import fcntl
import os
import shutil
import struct
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tool_plugins.errors import EngineError

MIB = 2**20
RESERVE_BYTES = 256 * MIB
"""Room the host keeps beyond what a new workspace may grow to."""

_MS_NOSUID, _MS_NODEV, _MS_NOATIME = 2, 4, 1024
_MNT_DETACH = 2
_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_CONFIGURE = 0x4C0A
_LO_FLAGS_AUTOCLEAR = 4
_LO_FLAGS_DIRECT_IO = 16
_CONFIGURE_BYTES = 304  # struct loop_config: fd, block size, struct loop_info64 (232), reserved
_FLAGS_OFFSET = 8 + 52  # lo_flags within loop_info64, behind five u64 and three u32
_ATTEMPTS = 64
_MAKE = ("mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-b", "4096", "-m", "0", "-i", "8192", "-E")

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Mounted:
    """A mounted workspace: where, on which device, and how many bytes fit."""

    path: Path
    device: str
    size: int


class Workspaces:
    """Makes and removes workspaces. `templates` keeps one formatted, empty file per size."""

    def __init__(self, templates: Path) -> None:
        self._templates = templates
        self._formatting = asyncio.Lock()

    async def unavailable(self) -> str:
        """Why workspaces cannot be made here, found by making one; empty when they can."""
        if os.geteuid() != 0:
            return "mounting a workspace needs root"
        if shutil.which("mkfs.ext4") is None:
            return "mkfs.ext4 is not installed (package e2fsprogs)"
        trial = self._templates / f"trial-{os.getpid()}-{os.urandom(4).hex()}"
        try:
            await self.mount(trial.with_suffix(".img"), trial, size_mb=16, owner=0)
        except (OSError, EngineError) as error:
            return f"a trial mount failed: {error}"
        finally:
            await asyncio.to_thread(release, trial.with_suffix(".img"), trial)
        return ""

    async def mount(self, image: Path, target: Path, *, size_mb: int, owner: int) -> Mounted:
        """Makes `image` and mounts it on the new folder `target`, whose root belongs to `owner`.

        Raises:
            EngineError: the host has no room or no loop device for it.
            OSError: the kernel refused; what was made so far is for `release` to remove.
        """
        template = await self._template(size_mb)
        return await asyncio.to_thread(_mount_copy, template, image, target, size_mb, owner)

    async def _template(self, size_mb: int) -> Path:
        template = self._templates / f"ext4-{size_mb}.img"
        async with self._formatting:
            if not template.exists():
                await asyncio.to_thread(_format, template, size_mb)
        return template


def _format(template: Path, size_mb: int) -> None:
    template.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = template.with_name(f"{template.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.truncate(size_mb * MIB)
        # Tables are left unwritten (the file stays sparse); mount says noinit_itable to keep it so.
        options = "lazy_itable_init=1,nodiscard,root_owner=0:0"
        subprocess.run([*_MAKE, options, str(draft)], check=True, capture_output=True)  # noqa: S603 - fixed words and our own path
        draft.rename(template)
    except subprocess.CalledProcessError as error:
        raise EngineError(f"mkfs.ext4 failed: {error.stderr.decode(errors='replace')}") from error
    finally:
        draft.unlink(missing_ok=True)


def _mount_copy(template: Path, image: Path, target: Path, size_mb: int, owner: int) -> Mounted:
    room = shutil.disk_usage(image.parent).free
    if room < size_mb * MIB + RESERVE_BYTES:
        raise EngineError(
            f"the host has {room // MIB} MiB left, too little for a workspace of {size_mb} MiB",
            hint="free space below the state folder, or ask for a smaller disk_mb",
        )
    _copy_sparse(template, image)
    target.mkdir(mode=0o755, exist_ok=True)
    device = _attach_and_mount(image, target)
    (target / "lost+found").rmdir()
    os.chown(target, owner, owner)
    os.chmod(target, 0o755)  # noqa: S103 - the action server, another user, walks through it
    counts = os.statvfs(target)
    return Mounted(target, device, counts.f_blocks * counts.f_frsize)


def _copy_sparse(source: Path, target: Path) -> None:
    """Copies only what is data; a hole stays a hole."""
    with source.open("rb", buffering=0) as old, target.open("xb", buffering=0) as new:
        target.chmod(0o600)
        size = os.fstat(old.fileno()).st_size
        new.truncate(size)
        position = 0
        while position < size:
            try:
                position = os.lseek(old.fileno(), position, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return
                raise
            end = os.lseek(old.fileno(), position, os.SEEK_HOLE)
            while position < end:
                piece = os.pread(old.fileno(), min(end - position, MIB), position)
                position += os.pwrite(new.fileno(), piece, position)


def _attach_and_mount(image: Path, target: Path) -> str:
    """Binds a free loop device to `image` and mounts it; the last unmount frees the device."""
    with image.open("r+b", buffering=0) as backing:
        device, loop = _attach(backing.fileno())
        try:
            _mount(device, target)
        finally:
            # With autoclear the device lives as long as the mount; without one it ends here.
            os.close(loop)
    return device


def _attach(backing: int) -> tuple[str, int]:
    record = bytearray(_CONFIGURE_BYTES)
    struct.pack_into("=II", record, 0, backing, 0)
    # Direct I/O: or every byte would lie in memory twice, both times on the sandbox's bill.
    struct.pack_into("=I", record, _FLAGS_OFFSET, _LO_FLAGS_AUTOCLEAR | _LO_FLAGS_DIRECT_IO)
    with open("/dev/loop-control", "rb", buffering=0) as control:
        for _ in range(_ATTEMPTS):
            device = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            loop = os.open(device, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(loop, _LOOP_CONFIGURE, bytes(record))
            except OSError as error:
                os.close(loop)
                if error.errno != errno.EBUSY:  # somebody else was quicker: take the next
                    raise
            else:
                return device, loop
    raise EngineError("no free loop device", hint="see `losetup --list`")


def _mount(device: str, target: Path) -> None:
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOATIME
    outcome = _libc.mount(
        device.encode(), os.fsencode(target), b"ext4", ctypes.c_ulong(flags), b"noinit_itable"
    )
    if outcome != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"mount {device}: {os.strerror(code)}", str(target))


def release(image: Path, target: Path) -> None:
    """Unmounts and deletes a workspace, half-made ones too. Idempotent."""
    while _libc.umount2(os.fsencode(target), _MNT_DETACH) == 0:
        pass  # stacked mounts: each call takes one off
    code = ctypes.get_errno()
    if code not in (errno.EINVAL, errno.ENOENT, errno.EPERM):
        raise EngineError(f"cannot unmount {str(target)!r}: {os.strerror(code)}")
    image.unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        target.rmdir()


def leftovers(folder: Path) -> list[Path]:
    """Every mount point below `folder`, as the kernel lists them."""
    inside = os.fsencode(folder.resolve()) + b"/"
    found = []
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        point = line.split()[4].decode("unicode_escape").encode("latin-1")
        if point.startswith(inside):
            found.append(Path(os.fsdecode(point)))
    return found
