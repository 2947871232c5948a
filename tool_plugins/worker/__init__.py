"""Processes of the agent's user in which libraries meet input that nobody vouches for."""
