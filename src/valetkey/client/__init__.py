"""The SDK: the protocol without I/O once, and thin shells that send it."""
