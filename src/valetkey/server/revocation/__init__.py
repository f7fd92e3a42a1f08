"""Ends things by id: one row per revoked node, one verb, a report per hop."""
