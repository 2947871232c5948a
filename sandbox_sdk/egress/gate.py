"""Where it is decided what goes out of one sandbox, and counted."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

from .connection import Connection
from .decision import Reason
from .dial import dial
from .judge import IPAddress, Judge, Verdict
from .link import tls_context
from .log import DecisionLog
from .policy import EgressLimits, EgressPolicy, HeaderInjection
from .refusal import RefusedError
from .resolver import DnsError, Resolver

logger = logging.getLogger(__name__)

MIB = 1024 * 1024


class Gate:
    """The policy in force, the connections that passed, and what they have moved so far."""

    def __init__(self, policy: EgressPolicy | None, resolver: Resolver, log: DecisionLog) -> None:
        self._resolver = resolver
        self._log = log
        self._running: set[Connection] = set()
        self._sent = self._received = 0
        self._context: ssl.SSLContext | None = None
        self._policy = policy
        self._judge = Judge(policy)

    @property
    def limits(self) -> EgressLimits:
        """The caps in force."""
        return self._policy.limits if self._policy is not None else EgressLimits()

    def set_policy(self, policy: EgressPolicy | None) -> None:
        """Replaces the policy, and ends what it does not allow."""
        # Nothing goes out should the new one turn out to be unusable.
        self._policy, self._judge = None, Judge(None)
        self._context = None
        try:
            judge = Judge(policy)
            self._policy, self._judge = policy, judge
        finally:
            for connection in tuple(self._running):
                self._look_again(connection)

    def _look_again(self, connection: Connection) -> None:
        before = connection.verdict
        assert before is not None, "it was judged before it ran"
        verdict = self._judge_of(before.host, before.port, connection.addresses)
        plain = connection.entry.protocol == "http"
        if not verdict.allowed:
            message = f"the policy has changed: {verdict.message}"
        elif connection.unseen and verdict.tunnel != "any":
            message = f"the policy has changed: only TLS may now go to {before.host!r}"
        elif plain and connection.injection != self.injection(before.host):
            message = f"the policy has changed: it adds other headers for {before.host!r}"
        else:
            connection.verdict = verdict
            return connection.retime(self.limits)
        refused = RefusedError(Reason.POLICY_CHANGED, message, hint=verdict.hint)
        return connection.cut(refused)

    def _judge_of(self, host: str, port: int, addresses: tuple[IPAddress, ...] = ()) -> Verdict:
        try:
            verdict = self._judge.judge(host, port)
            if verdict.allowed and addresses:
                verdict = self._judge.check(verdict, addresses)
        except Exception:  # whatever it is: what cannot be judged stays inside
            logger.exception("cannot judge %r, port %d", host[:255], port)
            message = "the policy could not be applied"
            return Verdict(False, host, port, reason=Reason.NOT_ALLOWED, message=message)
        return verdict

    def injection(self, host: str) -> HeaderInjection | None:
        """The headers to add to plain HTTP requests for a host."""
        return self._judge.injection(host)

    async def admit(self, connection: Connection, host: str, port: int) -> socket.socket:
        """A connection to the server that is asked for. `release` must follow, however it ends.

        Raises:
            RefusedError: says why there is none.
        """
        self._log.add(connection.entry)
        verdict = self._judge_of(host, port)
        connection.entry.judged(verdict)
        if not verdict.allowed:
            raise _refusal(verdict)
        self._check_caps()
        connection.verdict = verdict
        self._running.add(connection)
        timeout_s = self.limits.connect_timeout_s
        connection.addresses = await self._addresses(connection, timeout_s)
        upstream, address = await dial(
            connection.addresses, verdict.host, port, self.limits.connect_timeout_s
        )
        connection.addresses = (address,)
        connection.entry.address = str(address)
        connection.touch()
        connection.watch(self.limits)
        return upstream

    async def _addresses(self, connection: Connection, timeout_s: float) -> tuple[IPAddress, ...]:
        """All addresses of the host, every one of them allowed."""
        while True:
            verdict, policy = connection.verdict, self._policy
            assert verdict is not None
            if verdict.address is not None:
                addresses = (verdict.address,)
            else:
                hosts = policy.hosts if policy is not None else {}
                try:
                    addresses = await self._resolver.resolve(
                        verdict.host, hosts, timeout_s, owner=self._log.name
                    )
                except DnsError as exc:
                    raise RefusedError(Reason.DNS, exc.message, hint=exc.hint) from exc
            if policy is self._policy:
                break
        if not addresses:
            raise RefusedError(Reason.DNS, f"{verdict.host} has no address")
        checked = self._judge_of(verdict.host, verdict.port, addresses)
        connection.entry.judged(checked)
        if not checked.allowed:
            raise _refusal(checked)
        connection.verdict = checked
        return addresses

    def _check_caps(self) -> None:
        limits = self.limits
        if len(self._running) >= limits.max_connections:
            message = f"this sandbox has {len(self._running)} connections open already"
            raise RefusedError(Reason.LIMIT, message, hint="close some, or ask again later")
        if spent := self._spent(limits):
            raise spent

    def _spent(self, limits: EgressLimits) -> RefusedError | None:
        for verb, moved, most in (
            ("sent", self._sent, limits.max_sent_mb),
            ("received", self._received, limits.max_received_mb),
        ):
            if most is not None and moved >= most * MIB:
                message = f"this sandbox has {verb} all of the {most} MiB it may"
                return RefusedError(Reason.LIMIT, message)
        return None

    def counter(self, connection: Connection) -> Callable[[int, int], None]:
        """What is to be told the bytes of each piece: sent, received."""
        entry = connection.entry

        def count(sent: int, received: int) -> None:
            entry.sent_bytes += sent
            entry.received_bytes += received
            self._sent += sent
            self._received += received
            connection.touch()
            if spent := self._spent(self.limits):
                connection.cut(spent)

        return count

    def release(self, connection: Connection) -> None:
        """Forgets a connection that has ended. Idempotent."""
        self._running.discard(connection)

    async def tls(self) -> ssl.SSLContext:
        """What servers are verified by, where the proxy itself speaks TLS.

        Raises:
            RefusedError: `ca_file` cannot be used.
        """
        if self._context is None:
            policy = self._policy
            ca_file = policy.ca_file if policy is not None else None
            try:
                context = await asyncio.to_thread(tls_context, ca_file)
            except OSError as exc:
                message = "the certificates of the policy's ca_file cannot be used"
                raise RefusedError(Reason.TLS, message) from exc
            if policy is not self._policy:
                return context
            self._context = context
        return self._context


def _refusal(verdict: Verdict) -> RefusedError:
    reason = verdict.reason or Reason.NOT_ALLOWED
    return RefusedError(reason, verdict.message, hint=verdict.hint)
