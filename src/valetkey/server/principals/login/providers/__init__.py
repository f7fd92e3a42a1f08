"""The company's own sign-in: identity providers that administrators registered (OpenID Connect Core)."""
