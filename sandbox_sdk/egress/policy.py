"""What an operator says about the network. Host side only; nothing here acts.

EgressPolicy(allow=["pypi.org", "*.pythonhosted.org", "git.example:8443"])

An empty policy lets nothing out. `deny` wins over `allow`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from tool_plugins.contract import Value

from .rules import check_address, check_host, check_network, parse_rule

DEFAULT_PORTS = (80, 443)
Port = Annotated[int, Field(ge=1, le=65_535)]


class EgressRule(Value):
    """A host, and its ports.

    `host` is a name ("pypi.org": that name only), a name with all below it ("*.pythonhosted.org":
    not the name itself), "*" (every public host), an IP address or a network ("10.1.0.0/16",
    which covers URLs that hold an address, not names). In a policy a rule may be written as text:
    "pypi.org", "git.example:8443", "[::1]:8000", "10.1.0.0/16:443,8443".

    Without `ports` an allow rule means 80 and 443, a deny rule every port. `tunnel` says what may
    go through a tunnel (CONNECT, SOCKS): "tls" demands TLS whose server name is the host; "any"
    lets every protocol through, such as SSH.
    """

    host: Annotated[str, Field(min_length=1, max_length=255)]
    ports: Annotated[tuple[Port, ...], Field(min_length=1, max_length=100)] | None = None
    tunnel: Literal["tls", "any"] = "tls"

    @field_validator("host")
    @classmethod
    def _check_host(cls, host: str) -> str:
        return check_host(host)


Rules = Annotated[
    tuple[Annotated[EgressRule, BeforeValidator(parse_rule)], ...], Field(max_length=10_000)
]


class HeaderInjection(Value):
    """Headers the proxy adds to plain HTTP requests for one host, so that a secret stays outside.

    Programs in the sandbox ask for `http://host/...`; with `tls` (the default) the proxy itself
    speaks TLS to the host (port 443), and verifies it. What the sandbox sent under such a name is
    replaced. In a YAML file `${NAME}` in a value stands for a variable of the environment.
    """

    host: Annotated[str, Field(min_length=1, max_length=255)]
    headers: Annotated[dict[str, SecretStr], Field(min_length=1, max_length=50)]
    tls: bool = True

    @field_validator("host")
    @classmethod
    def _check_host(cls, host: str) -> str:
        checked = check_host(host)
        if "*" in checked or "/" in checked:
            raise ValueError("headers go to one host, without wildcards")
        return checked


class EgressLimits(Value):
    """Caps of one sandbox. `max_sent_mb` and `max_received_mb` count all it ever moved, in MiB.

    A connection without a byte for `idle_timeout_s`, or older than `max_connection_s`, is closed.
    """

    max_connections: Annotated[int, Field(ge=1, le=1000)] = 64
    max_sent_mb: Annotated[int, Field(ge=1)] | None = 1024
    max_received_mb: Annotated[int, Field(ge=1)] | None = 10_240
    connect_timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0
    idle_timeout_s: Annotated[float, Field(gt=0)] = 300.0
    max_connection_s: Annotated[float, Field(gt=0)] | None = 3600.0


class EgressPolicy(Value):
    """What a sandbox may reach.

    `private_networks`: ranges that are not public and into which allowed *names* may resolve; an
    address that an allow rule names is reachable without. `hosts`: addresses of names, asked
    before the name service ({"api.test": "127.0.0.1"}); these addresses may be private too.
    `inject`: headers with secrets. `ca_file`: certificates, PEM, that programs in the sandbox and
    the proxy trust beside the public ones. `web_request`: lists the tool of that name. `robots`:
    web_fetch heeds robots.txt.
    """

    allow: Rules = ()
    deny: Rules = ()
    private_networks: tuple[str, ...] = ()
    hosts: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    inject: tuple[HeaderInjection, ...] = ()
    limits: EgressLimits = Field(default_factory=EgressLimits)
    ca_file: Path | None = None
    web_request: bool = False
    robots: bool = False

    @field_validator("private_networks")
    @classmethod
    def _check_networks(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_network(each) for each in given)

    @field_validator("hosts", mode="before")
    @classmethod
    def _one_or_many(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: [each] if isinstance(each, str) else each for name, each in given.items()}

    @field_validator("hosts")
    @classmethod
    def _check_hosts(cls, given: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        return {
            check_host(name): tuple(check_address(each) for each in addresses)
            for name, addresses in given.items()
        }


NOTHING = EgressPolicy.model_construct(
    allow=(),
    deny=(),
    private_networks=(),
    hosts={},
    inject=(),
    limits=EgressLimits.model_construct(),
    ca_file=None,
    web_request=False,
    robots=False,
)
