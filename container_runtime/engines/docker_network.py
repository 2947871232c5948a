"""A network of its own for a sandbox that is reached over TCP.

One network per sandbox, so that sandboxes cannot see each other. On this machine it is internal:
it has no way out. An engine elsewhere must publish a port, which an internal network cannot; there
the network does no address translation, so that no answer finds its way back in.
"""

from typing import Any

from tool_plugins.errors import EngineError

from .docker_config import PORT, STATE_LABEL

_NO_MASQUERADE = {"com.docker.network.bridge.enable_ip_masquerade": "false"}


def make_network(api: Any, name: str, state: str, *, internal: bool) -> None:
    """Creates the network of the sandbox `name`."""
    api.create_network(
        name,
        driver="bridge",
        check_duplicate=True,
        internal=internal,
        options=None if internal else _NO_MASQUERADE,
        labels={STATE_LABEL: state},
    )


def remove_network(api: Any, name: str, state: str) -> None:
    """Removes that network where there is one of ours. Idempotent."""
    filters = {"name": f"^{name}$", "label": f"{STATE_LABEL}={state}"}
    for network in api.networks(filters=filters):
        api.remove_network(network["Id"])


def address(
    record: dict[str, Any], reach: str, engine_host: str, *, port: int = PORT
) -> tuple[str, int]:
    """Where the server that listens on `port` in a running, inspected container answers.

    Raises:
        EngineError: the engine gave it no address.
    """
    settings = record["NetworkSettings"]
    if reach == "bridge":
        for network in (settings.get("Networks") or {}).values():
            if network.get("IPAddress"):
                return network["IPAddress"], port
    for binding in (settings.get("Ports") or {}).get(f"{port}/tcp") or ():
        return engine_host, int(binding["HostPort"])
    raise EngineError("the engine gave the container no address")
