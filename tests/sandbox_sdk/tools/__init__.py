"""Custom tools on the host."""
