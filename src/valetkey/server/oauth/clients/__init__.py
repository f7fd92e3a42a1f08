"""OAuth clients: what they say of themselves, how they are found, and how they prove themselves."""
