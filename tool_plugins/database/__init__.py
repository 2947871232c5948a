"""Databases as tools. Host side only: a broker works for them, and credentials stay with it."""
