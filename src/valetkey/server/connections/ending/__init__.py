"""Ending the credentials of a revoked connection at the API itself, and never giving up on it silently."""
