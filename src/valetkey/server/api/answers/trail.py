"""The audit trail's records and proofs, and the keys."""

from typing import Literal, TypedDict


class AuditRecord(TypedDict):
    """A line of the trail, with the members of its event besides these."""

    id: str
    writer: str
    seq: int
    time: str
    event: str


class InclusionProof(TypedDict):
    """That `record`, a line of the trail, is under `checkpoint`, a signed line: docs/audit-format.md says how."""

    v: int
    kind: Literal["inclusion"]
    record: str
    path: list[str]
    checkpoint: str


class ConsistencyProof(TypedDict):
    """That the checkpoint `later` continues `earlier`: a path for each writer. docs/audit-format.md says how."""

    v: int
    kind: Literal["consistency"]
    earlier: str
    later: str
    paths: dict[str, list[str]]


class Pin(TypedDict):
    """The key that verifies checkpoints, as an auditor pins it."""

    pin: str


class DataKeyBegun(TypedDict):
    """`key` seals from now on; `records` are still sealed under others. `resumed`: an earlier change had not ended."""

    key: str
    records: int
    resumed: bool


class DataKeyResealed(TypedDict):
    """`unopened` records do not open: their key is kept. When `finished`, the keys nothing needs are `destroyed`."""

    resealed: int
    cursor: str
    finished: bool
    unopened: list[str]
    destroyed: list[str]


class SigningKey(TypedDict):
    kid: str
    purpose: str
    algorithm: str
    signs_from: int
    retired_at: int | None
