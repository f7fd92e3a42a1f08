"""The server: every door, every rule, every record."""
