"""Run when the image is made, as its last step: every plugin can be loaded in it.

A plugin that cannot is an image that is never made, instead of sandboxes that never start.
"""

import sys

from tool_plugins.errors import ConfigurationError

from .plugins import load_executors, read_plugins

HOST_ONLY = "pydantic"
"""What the action server must not load: it would double its memory. Worker processes may."""


def main() -> None:
    """Ends the build with one sentence if something is wrong."""
    try:
        for name, module in read_plugins().items():
            load_executors({name: module})
            if HOST_ONLY in sys.modules:
                raise ConfigurationError(
                    f"the plugin {name!r} loads {HOST_ONLY} with {module}: it may import neither "
                    "its definition nor the models there"
                )
    except ConfigurationError as error:
        sys.exit(error.message)


if __name__ == "__main__":
    main()
