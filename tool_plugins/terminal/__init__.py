"""Terminal tools: run, read, write, kill, list."""
