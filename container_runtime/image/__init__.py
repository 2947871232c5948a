"""The sandbox image: what goes into it, and how it is made where one is missing.

Knows no engine but the Docker client it is handed. Needs no source tree: every input is read from
the installed packages.
"""
