"""Policies as they are kept: versions that are applied one after the other, and users' own rules."""
