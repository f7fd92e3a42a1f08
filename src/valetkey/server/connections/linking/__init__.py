"""Connecting an account by the API's own consent: out in one browser, back in the same one, kept once."""
