"""A MariaDB server of the organization's. A connection is to the server; its databases are what grants call schemas."""
