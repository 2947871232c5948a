"""SQLite: one file per sandbox; the authorizer of its connection enforces permission."""
