"""Valetkey: credentials for AI agents that act on behalf of people."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from valetkey.client.errors import (
        ApprovalRequired,
        Conflict,
        ConnectionRequired,
        ConsentRequired,
        Denied,
        Expired,
        InvalidRequest,
        NotAuthenticated,
        NotFound,
        Revoked,
        TooMany,
        Unavailable,
        Unreachable,
        UpstreamFailed,
        ValetkeyError,
    )
    from valetkey.client.sync import Client
    from valetkey.verify import Verifier

__all__ = [
    "ApprovalRequired",
    "Client",
    "Conflict",
    "ConnectionRequired",
    "ConsentRequired",
    "Denied",
    "Expired",
    "InvalidRequest",
    "NotAuthenticated",
    "NotFound",
    "Revoked",
    "TooMany",
    "Unavailable",
    "Unreachable",
    "UpstreamFailed",
    "ValetkeyError",
    "Verifier",
]


def __getattr__(name: str) -> Any:
    """Load what is asked for, when it is asked for: importing the package alone stays instant."""
    if name not in __all__:
        raise AttributeError(f"module 'valetkey' has no attribute {name!r}")
    import importlib

    module = {"Client": "valetkey.client.sync", "Verifier": "valetkey.verify"}.get(name, "valetkey.client.errors")
    return getattr(importlib.import_module(module), name)
