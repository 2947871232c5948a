"""Locks between processes of this host: held on an open file, and let go when it is closed."""

import fcntl


def try_lock(descriptor: int) -> bool:
    """Takes the lock of an open file for itself. False: somebody else has it. Never waits."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
