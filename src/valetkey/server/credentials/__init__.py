"""Issuing delegated credentials."""
