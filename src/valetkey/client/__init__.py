"""The client: what a program or a person uses to talk to a Valetkey server. Imports nothing of the server."""
