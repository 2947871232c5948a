"""A browser in the sandbox, driven by tools. Part of an image flavour."""
