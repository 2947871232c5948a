"""Real database servers for tests and developers, started from what is installed."""
