"""The process that runs the statements of one sandbox, and the two ends of the pipe to it."""
