"""Approvals: one person's answer to one exact call, usable once."""
