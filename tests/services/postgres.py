"""Where tests find the PostgreSQL server; the demo starts the same one."""

from examples.databases.postgres import PostgresServer, find_binaries, free_port

__all__ = ("PostgresServer", "find_binaries", "free_port")
