"""The peer for the gateway: mitmproxy in reverse mode doing the smallest part of our job, one header set per call.

No check, no record, no rewriting. Large bodies are streamed, as ours are.
"""

import os
from typing import Any

AUTHORIZATION = os.environ["PEER_AUTHORIZATION"]


def request(flow: Any) -> None:
    """Put the credential in place of whatever the caller sent."""
    flow.request.headers["Authorization"] = AUTHORIZATION


def responseheaders(flow: Any) -> None:
    """Do not buffer the answer."""
    flow.response.stream = True
