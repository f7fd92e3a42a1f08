"""What a third-party API is: hosts, operations, scopes, how a credential enters a request."""
