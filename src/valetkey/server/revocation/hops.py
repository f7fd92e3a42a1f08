"""Who must act when something is revoked. Comparing ids at use needs no hop; cutting a stream does."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    DONE = "done"
    PENDING = "pending"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True, kw_only=True)
class HopReport:
    """What one hop did about a revocation."""

    hop: str
    outcome: Outcome
    detail: str


Stop = Callable[[frozenset[str], int], Awaitable[HopReport]]
"""Told which nodes ended, and under which number of the change feed."""
