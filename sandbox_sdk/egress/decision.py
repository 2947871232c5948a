"""What the proxy decided, and what came of it."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from tool_plugins.contract import Value

Protocol = Literal["http", "connect", "socks"]


class Reason(StrEnum):
    """Why something did not go out: the closed set.

    All but the last five are the policy's word; those say that the way was open but led nowhere.
    """

    BAD_REQUEST = "bad_request"
    BAD_HOST = "bad_host"
    NOT_ALLOWED = "not_allowed"
    DENIED = "denied"
    PORT = "port"
    PRIVATE_ADDRESS = "private_address"
    NOT_TLS = "not_tls"
    SERVER_NAME = "server_name"
    LIMIT = "limit"
    NO_POLICY = "no_policy"
    DNS = "dns"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    TLS = "tls"
    POLICY_CHANGED = "policy_changed"


class EgressDecision(Value):
    """One line of a sandbox's log.

    `message` says why in words; `rule` is the rule that decided, as it was written. `address` is
    what the host resolved to and was connected to. Bytes and seconds are final once `ended`.
    """

    at: datetime
    protocol: Protocol
    method: str = ""
    host: str
    port: int
    allowed: bool
    reason: Reason | None = None
    message: str = ""
    rule: str = ""
    address: str = ""
    sent_bytes: int = 0
    received_bytes: int = 0
    duration_s: float = 0.0
    ended: bool = True
