"""Qdrant: embedded (a file per sandbox) or a server (collections and a token per sandbox)."""
