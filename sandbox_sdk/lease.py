"""How long a sandbox may still live. In memory; the sweep writes it to the state table."""

from collections.abc import Iterator
from contextlib import contextmanager

from tool_plugins.errors import GoneCause

from .clock import Clock


class Lease:
    """Renewed by use, never on disk while an action runs.

    A running action holds the lease, so a long command is not "idle". The lifetime bound counts
    from creation and use does not move it.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        idle_timeout_s: float | None,
        lifetime_left_s: float | None,
        idle_left_s: float | None = None,
    ) -> None:
        now = clock.monotonic()
        self._clock = clock
        self._idle_timeout_s = idle_timeout_s
        self._dies_at = None if lifetime_left_s is None else now + lifetime_left_s
        self._holders = 0
        already_idle = 0.0
        if idle_timeout_s is not None and idle_left_s is not None:
            already_idle = max(0.0, idle_timeout_s - idle_left_s)
        self._used_at = now - already_idle

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keeps the lease alive for the body, and renews it at both ends."""
        self._holders += 1
        self._used_at = self._clock.monotonic()
        try:
            yield
        finally:
            self._holders -= 1
            self._used_at = self._clock.monotonic()

    def remaining_s(self) -> float | None:
        """Seconds until it expires if nobody uses the sandbox; None means never."""
        now = self._clock.monotonic()
        ends = [] if self._dies_at is None else [self._dies_at]
        if self._idle_timeout_s is not None:
            last_use = now if self._holders else self._used_at
            ends.append(last_use + self._idle_timeout_s)
        return min(ends) - now if ends else None

    def expired(self) -> GoneCause | None:
        """Why the sandbox has to end now, or None."""
        if self._dies_at is not None and self._clock.monotonic() >= self._dies_at:
            return GoneCause.TIMEOUT
        remaining = self.remaining_s()
        return GoneCause.IDLE if remaining is not None and remaining <= 0 else None
