"""A database of the organization's: how it is connected, and the roles that are made in it and dropped again."""
