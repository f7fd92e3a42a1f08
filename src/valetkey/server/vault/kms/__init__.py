"""Where the root key comes from."""
