"""Qdrant: collections per sandbox, embedded or on a server."""
