"""The audit trail's records and proofs, and the keys."""

from typing import NotRequired, TypedDict


class DataKeyBegun(TypedDict):
    key: str
    records: int
    resumed: bool


class DataKeyResealed(TypedDict):
    resealed: int
    cursor: str
    finished: bool
    unopened: list[str]
    destroyed: list[str]


class SigningKey(TypedDict):
    kid: str
    signs_from: NotRequired[int]


class InclusionProof(TypedDict):
    v: int
    kind: str
    record: str
    path: list[str]
    checkpoint: str


class ConsistencyProof(TypedDict):
    v: int
    kind: str
    earlier: str
    later: str
    paths: dict[str, list[str]]
