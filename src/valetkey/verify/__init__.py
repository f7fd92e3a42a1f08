"""The resource-server kit: strict verification of the tokens Valetkey signs. Imports nothing from the server."""
