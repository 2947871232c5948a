"""PostgreSQL: a database cloned per sandbox, and a role whose grants enforce permission."""
