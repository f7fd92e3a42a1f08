"""Organizations, users, agents and service accounts."""
