"""A PostgreSQL database of the organization's: its sessions, the roles made there, and what is read of it."""
