"""Platforms and identity providers an administrator trusts to say who somebody is, and how their words are read."""
