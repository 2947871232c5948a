"""What went out of one sandbox and what did not: the last decisions, and a line for each."""

import logging
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime

from .decision import EgressDecision, Protocol, Reason
from .judge import Verdict
from .refusal import RefusedError, printable

logger = logging.getLogger("sandbox_sdk.egress")

KEPT_DECISIONS = 1000
MESSAGE_CHARACTERS = 500
HOST_CHARACTERS = 255
METHOD_CHARACTERS = 32

# The policy let it out; it led nowhere.
LED_NOWHERE = {
    Reason.DNS,
    Reason.UNREACHABLE,
    Reason.TIMEOUT,
    Reason.TLS,
    Reason.POLICY_CHANGED,
}


@dataclass(slots=True, eq=False)
class Entry:
    """A decision while it is made and while its connection lives."""

    protocol: Protocol = "http"
    method: str = ""
    host: str = ""
    port: int = 0
    reason: Reason | None = None
    message: str = ""
    rule: str = ""
    address: str = ""
    sent_bytes: int = 0
    received_bytes: int = 0
    ended_at: float | None = None
    shown: bool = False
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started_at: float = field(default_factory=time.monotonic)

    @property
    def allowed(self) -> bool:
        """Whether the policy lets it out, as far as is known."""
        return self.reason is None or self.reason in LED_NOWHERE

    @property
    def duration_s(self) -> float:
        """From the request to its end, or to now."""
        return (self.ended_at or time.monotonic()) - self.started_at

    def ask(self, protocol: Protocol, method: str, host: str, port: int) -> None:
        """Notes what is asked for, as it was written."""
        self.protocol = protocol
        self.method = printable(method, METHOD_CHARACTERS)
        self.host = printable(host, HOST_CHARACTERS)
        self.port = port

    def judged(self, verdict: Verdict) -> None:
        """Notes what the policy says: the host in its one form, the rule, a bad address."""
        self.host = printable(verdict.host or self.host, HOST_CHARACTERS)
        self.rule = verdict.rule
        if verdict.address is not None:
            self.address = str(verdict.address)

    def refuse(self, refused: RefusedError) -> None:
        """Notes why it ended."""
        self.reason = refused.reason
        self.message = printable(refused.message, MESSAGE_CHARACTERS)

    def decision(self) -> EgressDecision:
        """As it stands now."""
        return EgressDecision(
            at=self.at,
            protocol=self.protocol,
            method=self.method,
            host=self.host,
            port=self.port,
            allowed=self.allowed,
            reason=self.reason,
            message=self.message,
            rule=self.rule,
            address=self.address,
            sent_bytes=self.sent_bytes,
            received_bytes=self.received_bytes,
            duration_s=round(self.duration_s, 6),
            ended=self.ended_at is not None,
        )


class DecisionLog:
    """The last decisions of one sandbox. A line is logged when one has ended."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._entries: deque[Entry] = deque(maxlen=KEPT_DECISIONS)

    def add(self, entry: Entry) -> None:
        """Shows a decision from now on."""
        entry.shown = True
        self._entries.append(entry)

    def end(self, entry: Entry) -> None:
        """Closes a decision and logs it, once. A connection that asked for nothing is none."""
        if entry.ended_at is not None or (not entry.shown and entry.reason is None):
            return
        if not entry.shown:
            self.add(entry)
        entry.ended_at = time.monotonic()
        if entry.allowed:
            logger.info(
                "%s: allowed %s by %r: %d bytes out, %d in, %.3f s%s",
                self.name,
                _what(entry),
                entry.rule,
                entry.sent_bytes,
                entry.received_bytes,
                entry.duration_s,
                f"; {entry.reason}: {entry.message}" if entry.reason else "",
            )
        else:
            logger.warning(
                "%s: denied %s: %s (%s)", self.name, _what(entry), entry.message, entry.reason
            )

    def decisions(self) -> tuple[EgressDecision, ...]:
        """Oldest first."""
        return tuple(entry.decision() for entry in self._entries)


def _what(entry: Entry) -> str:
    host = f"[{entry.host}]" if ":" in entry.host else entry.host
    address = f" at {entry.address}" if entry.address else ""
    return f"{entry.method or entry.protocol} {host}:{entry.port}{address}"
