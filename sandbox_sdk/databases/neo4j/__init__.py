"""Neo4j: an instance per sandbox, and its access mode."""
