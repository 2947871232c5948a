"""Custom tools: Python files whose functions become tools at run time, inside the sandbox."""
