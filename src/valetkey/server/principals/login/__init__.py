"""Proving that a person is who they say: passkeys, passwords with one-time codes, and the company's own sign-in."""
