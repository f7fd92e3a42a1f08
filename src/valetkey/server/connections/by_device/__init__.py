"""Connecting an account by the API's own code for another device: typed in anywhere, asked after when it is due."""
