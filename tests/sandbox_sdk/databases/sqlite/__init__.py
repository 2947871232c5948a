"""Tests of SQLite as a database of sandboxes."""
