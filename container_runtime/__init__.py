"""Floor 1: where actions run.

Imports `tool_plugins` and nothing above. `container_runtime.server` runs inside the container;
everything else of this package stays on the host. Empty, because the container imports it too.
"""
