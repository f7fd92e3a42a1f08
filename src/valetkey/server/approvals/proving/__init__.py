"""A person proves anew that it is them, for one approval and no other."""
