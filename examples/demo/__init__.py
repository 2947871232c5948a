"""The program behind `make demo`. Each scene is a file; `__main__.py` runs them in order."""
