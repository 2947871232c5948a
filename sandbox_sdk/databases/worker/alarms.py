"""What must happen at a certain time in a worker: deadlines of calls, ends of transactions."""

import threading
import time
from collections.abc import Callable
from math import inf

Action = Callable[[], None]


class Alarms:
    """Set and cleared by many threads, rung by the main one.

    Most calls are done long before their deadline, so the main thread is woken only for an alarm
    that is earlier than the time it wakes up at anyway.
    """

    def __init__(self, wake: Action) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._alarms: dict[object, tuple[float, Action]] = {}
        self._planned = inf

    def set(self, key: object, after_s: float, action: Action) -> None:
        """Rings in `after_s` seconds, unless set anew or cleared before."""
        when = time.monotonic() + after_s
        with self._lock:
            self._alarms[key] = (when, action)
            early = when < self._planned
            if early:
                self._planned = when
        if early:
            self._wake()

    def clear(self, key: object) -> None:
        """Takes an alarm back."""
        with self._lock:
            self._alarms.pop(key, None)

    def ring(self) -> float | None:
        """Does what is due, each in a thread of its own; answers the seconds until the next."""
        now = time.monotonic()
        with self._lock:
            due = [key for key, (when, _) in self._alarms.items() if when <= now]
            actions = [self._alarms.pop(key)[1] for key in due]
            self._planned = min((when for when, _ in self._alarms.values()), default=inf)
            left = None if self._planned == inf else max(0.0, self._planned - now)
        for action in actions:
            # It may wait for a server, and the next alarm must not wait for that.
            threading.Thread(target=action, daemon=True).start()
        return left
