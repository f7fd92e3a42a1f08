"""Token revocation (RFC 7009): the door by which a client gives back what it has."""
