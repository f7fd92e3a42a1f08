"""Valetkey: credentials for AI agents that act on behalf of people."""

__version__ = "0.1.0"
