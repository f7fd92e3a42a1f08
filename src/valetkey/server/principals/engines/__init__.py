"""Engines: proxies somebody else wrote that carry the bytes and ask us what may pass."""
