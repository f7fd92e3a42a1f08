"""Telling people that a call waits for them, at addresses they named."""
