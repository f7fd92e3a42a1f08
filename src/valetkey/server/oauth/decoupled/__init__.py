"""Authorization without a redirect: the device flow (RFC 8628) and backchannel requests (OpenID Connect CIBA)."""
