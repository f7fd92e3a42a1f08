"""Links to a person's real accounts, with the credential sealed."""
