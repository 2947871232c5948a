"""What databases hold when a sandbox first sees them: schema and fixtures from YAML files."""
