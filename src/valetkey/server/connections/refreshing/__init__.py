"""Renewing the credentials APIs give for a while only: one call for each expiry, over all workers and nodes."""
