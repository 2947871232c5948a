"""Databases to try the project with: a server that is started by itself, and data for it."""
