"""Custom tools on the host: which there are, what their files say, and how one is called."""
