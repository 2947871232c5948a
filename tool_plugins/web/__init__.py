"""Tools that reach the web, always through the sandbox's egress proxy."""
