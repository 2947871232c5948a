"""Entry point of `sandbox-mcp` and of `python -m mcp_server`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
