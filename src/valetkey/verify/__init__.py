"""The resource-server kit: strict verification of the tokens Valetkey signs. Imports nothing from the server."""

from valetkey.verify.claims import Delegated, Grant, Layout, Principal
from valetkey.verify.errors import ExpiredToken, InvalidKey, InvalidProof, InvalidToken, KeysUnavailable
from valetkey.verify.keys import PublicKey, parse_jwk, parse_jwks
from valetkey.verify.verifier import Verifier

__all__ = [
    "Delegated",
    "ExpiredToken",
    "Grant",
    "InvalidKey",
    "InvalidProof",
    "InvalidToken",
    "KeysUnavailable",
    "Layout",
    "Principal",
    "PublicKey",
    "Verifier",
    "parse_jwk",
    "parse_jwks",
]
