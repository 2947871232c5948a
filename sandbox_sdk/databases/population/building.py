"""Builds a template once on this host, however many processes want it at the same time.

    templates/
        3f9c…/            the finished template: a file or a folder, complete or not there
        .3f9c….lock       held while it is built
        .3f9c….building/  what is built, and what a build that died has left

Blocking: an event loop calls it in a thread.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def build_once(target: Path, build: Callable[[Path], None]) -> Path:
    """Returns `target`, after `build` made it if it was not there yet.

    `build` gets a path that does not exist, in a folder of its own (so files it leaves beside it
    disappear too), and makes a file or a folder there. That is written to the disk and renamed to
    `target`, so `target` is never seen half built. One process builds, the others wait for it; if
    `build` raises or the process dies, nothing is there and the next one builds anew.

    Raises:
        FileNotFoundError: `build` made nothing.
    """
    if target.exists():
        return target
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    workshop = target.with_name(f".{target.name}.building")
    with _locked(target.with_name(f".{target.name}.lock")):
        if target.exists():
            return target
        _remove(workshop)
        workshop.mkdir(mode=0o700)
        try:
            product = workshop / target.name
            build(product)
            _sync(product)
            product.rename(target)
            _sync_entry(target.parent)
        finally:
            _remove(workshop)
    return target


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds the lock file, and removes it in the end.

    Who waited for a file that was removed meanwhile holds a lock nobody else sees, and so tries
    again with the file that is there now.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_at(descriptor, path):
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return
        finally:
            # A child forked meanwhile shares the descriptor: closing ours would not unlock it.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)


def _sync(path: Path) -> None:
    """Writes a file, or a folder with everything in it, to the disk."""
    if path.is_dir():
        for name, folders, files in os.walk(path):
            for entry in [*files, *folders, "."]:
                _sync_entry(Path(name) / entry)
    else:
        _sync_entry(path)


def _sync_entry(path: Path) -> None:
    if not path.is_symlink() and (path.is_file() or path.is_dir()):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
