"""Places, root keys and rings for tests: real ones, held in memory."""

import os
from typing import Any

from valetkey.server.secret import SecretBytes
from valetkey.server.vault.aad import Place
from valetkey.server.vault.kms.root import HeldRoot
from valetkey.server.vault.mac import Mac, pepper_of
from valetkey.server.vault.ring import KeyRing, WrappedKey
from valetkey.server.vault.rotate import first

DEPLOYMENT = "dep-1"
NOW = 1_800_000_000.0


def a_root() -> HeldRoot:
    return HeldRoot(SecretBytes(os.urandom(32)))


def a_ring(root: HeldRoot | None = None, *, deployment: str = DEPLOYMENT) -> KeyRing:
    root = root or a_root()
    return KeyRing(first(root=root, deployment=deployment, now=NOW), root=root, deployment=deployment)


def a_mac(root: HeldRoot, deployment: str = DEPLOYMENT) -> Mac:
    return Mac(pepper_of(root, deployment=deployment))


def ring_of(rows: tuple[WrappedKey, ...], root: HeldRoot) -> KeyRing:
    return KeyRing(rows, root=root, deployment=DEPLOYMENT)


def a_place(**changed: Any) -> Place:
    fields: dict[str, Any] = {
        "deployment": DEPLOYMENT,
        "organization": "org_1",
        "table": "connections",
        "column": "sealed",
        "row": "con_1",
        "owner": "usr_1",
        "integration": "github",
        "allowed_hosts": frozenset({"api.github.com"}),
        "generation": 7,
        "format": 1,
    }
    return Place(**{**fields, **changed})
