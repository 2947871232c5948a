"""Web search by a provider of the operator's choice; its key stays on this host."""
