"""Where tests find a web of their own; the demo starts the same one."""

from examples.web.server import ADDRESS, NAMES, Answer, Request, Web

__all__ = ("ADDRESS", "NAMES", "Answer", "Request", "Web")
