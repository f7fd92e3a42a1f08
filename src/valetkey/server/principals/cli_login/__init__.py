"""Signing in a command line by a browser: the person says yes on a page, the program fetches a credential."""
