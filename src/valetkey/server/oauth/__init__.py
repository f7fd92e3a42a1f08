"""The authorization server's token endpoint and metadata."""
