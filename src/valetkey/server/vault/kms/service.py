"""A root key that an outside key service keeps locked: the service unlocks it once, at the start, and never sees data.

The locked key lies in a private file that is worth nothing without the service. Its context names the deployment and
the root key itself, so a file of another deployment, or another version put back, is refused by the service. After the
start the key is held in memory: a service that is away later stops no call. Knows no service's protocol.
"""

import base64
import binascii
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

import msgspec

from valetkey.server.secret import SecretBytes
from valetkey.server.vault.errors import RootKeyRefused
from valetkey.server.vault.kms.private_file import create_once, read_private
from valetkey.server.vault.kms.root import ROOT_BYTES, HeldRoot

_LARGEST_FILE: Final = 16_384  # bytes
_ROOT: Final = re.compile(r"[0-9a-f]{16}")

Context = Mapping[str, str]


class KeyService(Protocol):
    """Two verbs. Both raise `RootKeyRefused`, or `KeyServiceAway` when nothing is known because it did not answer."""

    @property
    def name(self) -> str:
        """`vault`, `aws`, `gcp` or `azure`."""
        ...

    @property
    def key(self) -> str:
        """Which of the service's keys locks."""
        ...

    async def wrap(self, key: SecretBytes, context: Context) -> bytes:
        """Return `key` wrapped for `context`."""
        ...

    async def unwrap(self, wrapped: bytes, context: Context) -> SecretBytes | None:
        """Return the wrapped key, or nothing if this service's key did not wrap it for this context."""
        ...


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    service: str
    key: str
    root: str
    wrapped: str


class ServiceRoot(HeldRoot):
    """A root key that a stolen disk does not give away, and that can be taken back at the service."""

    __slots__ = ()

    @classmethod
    async def load(cls, path: Path, service: KeyService, *, deployment: str) -> "ServiceRoot":
        """Return the root key locked in `path`. Raises `RootKeyRefused`."""
        said = _parse(read_private(path, at_most=_LARGEST_FILE).reveal(), path)
        if (said.service, said.key) != (service.name, service.key):
            raise RootKeyRefused(
                f"{path} was locked by {said.key} of {said.service}, and the settings name {service.key} of "
                f"{service.name}.",
                hint="Name the key that locked it, or move to the other one with `valetkey keys rotate-root`.",
            )
        wrapped = base64.b64decode(said.wrapped)
        key = await service.unwrap(wrapped, _context(deployment, said.root))
        if key is None or len(key.reveal()) != ROOT_BYTES or (root := cls(key)).id != said.root:
            raise RootKeyRefused(
                f"{service.key} of {service.name} does not open {path} for this deployment.",
                hint="Name the key that locked it, and put back the file of this very deployment.",
            )
        return root

    @classmethod
    async def load_or_create(cls, path: Path, service: KeyService, *, deployment: str) -> "ServiceRoot":
        """Return the root key locked in `path`, creating it if there is none. Of many who create at once, one wins."""
        if not path.exists():
            content = await _new_file(service, deployment)
            create_once(path, lambda: content)
        return await cls.load(path, service, deployment=deployment)


async def proves_unwrapping(service: KeyService) -> None:
    """Show that the service opens what it locks, and not in another context. Raises `RootKeyRefused`."""
    probe = SecretBytes(os.urandom(ROOT_BYTES))
    wrapped = await service.wrap(probe, _context("self-test", "0" * 16))
    if await service.unwrap(wrapped, _context("self-test", "0" * 16)) != probe:
        raise RootKeyRefused(f"{service.key} of {service.name} does not unwrap what it has just wrapped.")
    if await service.unwrap(wrapped, _context("other-test", "0" * 16)) is not None or probe.reveal() in wrapped:
        raise RootKeyRefused(f"{service.key} of {service.name} does not bind what it wraps to its context.")


async def _new_file(service: KeyService, deployment: str) -> SecretBytes:
    # Proven before anything depends on it: a key that may encrypt and not decrypt would lock us out at the next start.
    await proves_unwrapping(service)
    key = SecretBytes(os.urandom(ROOT_BYTES))
    root = HeldRoot(key).id
    wrapped = await service.wrap(key, _context(deployment, root))
    said = _File(1, service.name, service.key, root, base64.b64encode(wrapped).decode())
    return SecretBytes(msgspec.json.format(msgspec.json.encode(said), indent=1) + b"\n")


def _parse(content: bytes, path: Path) -> _File:
    try:
        said = msgspec.json.decode(content, type=_File)
        base64.b64decode(said.wrapped, validate=True)
        whole = said.format == 1 and _ROOT.fullmatch(said.root) is not None
    except (msgspec.DecodeError, UnicodeError, binascii.Error, RecursionError):
        whole = False
    if not whole:
        raise RootKeyRefused(f"{path} is not a root key locked by a key service, or was cut short or changed.")
    return said


def _context(deployment: str, root: str) -> Context:
    return {"valetkey-deployment": deployment, "valetkey-root": root}
