"""Connecting that was begun where no browser is: a short code leads its person, and nobody else, to our own page."""
