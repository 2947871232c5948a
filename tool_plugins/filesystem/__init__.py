"""Filesystem tools: read, write, edit, list, glob, grep, move, delete."""
