"""The performance budgets, each held as a ratio within one run. Started by `make bench`."""
