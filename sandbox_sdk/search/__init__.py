"""Web search on the host: the interface of providers, three of ours, and what their hits become."""
