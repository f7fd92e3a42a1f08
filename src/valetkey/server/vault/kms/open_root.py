"""The root key these settings name: in a private file, locked by a passphrase, or locked by an outside key service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from valetkey.server.clock import Clock, SystemClock
from valetkey.server.egress import Egress
from valetkey.server.egress.url import Url
from valetkey.server.secret import Secret
from valetkey.server.settings import Settings
from valetkey.server.vault.errors import RootKeyRefused
from valetkey.server.vault.kms import aws, gcp
from valetkey.server.vault.kms.ask import address
from valetkey.server.vault.kms.aws import AwsKms
from valetkey.server.vault.kms.azure import AzureKeyVault
from valetkey.server.vault.kms.gcp import GcpKms, ServiceAccount
from valetkey.server.vault.kms.passphrase import PassphraseRoot
from valetkey.server.vault.kms.private_file import read_private
from valetkey.server.vault.kms.root import FileRoot, HeldRoot, proves_decrypt
from valetkey.server.vault.kms.service import KeyService, ServiceRoot, proves_unwrapping
from valetkey.server.vault.kms.transit import Transit

_FILES = {"file": "root", "passphrase": "root.locked"}


def root_path(settings: Settings) -> Path:
    """Where the root key, or what unlocks to it, lies on this machine."""
    kind = settings.root_kind
    return settings.data / "keys" / _FILES.get(kind, f"root.{kind}")


async def open_root(
    settings: Settings, *, deployment: str, create: bool, path: Path | None = None, clock: Clock | None = None
) -> HeldRoot:
    """Open the root key. `create` makes one where there is none: right in a new deployment, and nowhere else.

    Raises `RootKeyRefused`; `KeyServiceAway` when an outside service would have to answer and does not.
    """
    path = path or root_path(settings)
    if settings.root_kind == "file":
        return FileRoot.load_or_create(path) if create else FileRoot.load(path)
    if settings.root_kind == "passphrase":
        locked = PassphraseRoot.load_or_create if create else PassphraseRoot.load
        return locked(path, _given(settings.root_passphrase, "root_passphrase"))
    async with key_service(settings, clock or SystemClock()) as service:
        if create:
            return await ServiceRoot.load_or_create(path, service, deployment=deployment)
        return await ServiceRoot.load(path, service, deployment=deployment)


def prove_root(settings: Settings) -> str:
    """Say how the root key is kept, having shown that it works; a key service is asked. Raises `RootKeyRefused`."""
    path = root_path(settings)
    if settings.root_kind not in _FILES:
        return asyncio.run(_prove_service(settings, path))
    proves_decrypt(asyncio.run(open_root(settings, deployment="", create=False)))
    return f"{path} is private and decrypts"


async def _prove_service(settings: Settings, path: Path) -> str:
    read_private(path, at_most=1)
    async with key_service(settings, SystemClock()) as service:
        await proves_unwrapping(service)
        return f"{service.key} of {service.name} wraps and unwraps; what it locks lies in {path}, private"


@asynccontextmanager
async def key_service(settings: Settings, clock: Clock) -> AsyncIterator[KeyService]:
    """The outside key service these settings name, reached by a way out of its own while the block lasts."""
    base = _base(settings)
    places = frozenset({base.place})
    egress = Egress(
        allow_loopback_hosts=places if settings.root_network == "loopback" else frozenset(),
        allow_private_hosts=places if settings.root_network == "private" else frozenset(),
        extra_roots=_authorities(settings),
        clock=clock,
    )
    await egress.open()
    try:
        yield _service(settings, egress, base, clock)
    finally:
        await egress.close()


def _base(settings: Settings) -> Url:
    if not settings.root_key:
        raise RootKeyRefused(f"root is {settings.root}, and root_key does not say which key.")
    match settings.root:
        case "aws":
            return address(settings.root_url or aws.home_of(settings.root_key), what="root_url")
        case "gcp":
            return address(settings.root_url or gcp.HOME, what="root_url")
        case "azure":
            return address(settings.root_key, what="root_key")
        case _:
            return address(settings.root_url, what="root_url")


def _service(settings: Settings, egress: Egress, base: Url, clock: Clock) -> KeyService:
    key, identity, secret = settings.root_key, settings.root_identity, _given(settings.root_secret, "root_secret")
    match settings.root:
        case "vault":
            return Transit(egress=egress, base=base, key=key, role=identity, secret=secret)
        case "aws":
            if not identity:
                raise RootKeyRefused("root is aws, and root_identity does not say which access key.")
            return AwsKms(egress=egress, base=base, key=key, access_key=identity, secret=secret, now=clock.now)
        case "gcp":
            return GcpKms(egress=egress, base=base, key=key, account=ServiceAccount.read(secret), now=clock.now)
        case "azure":
            return AzureKeyVault(egress=egress, key=key, identity=identity, secret=secret)
        case other:
            raise RootKeyRefused(f"There is no key service called {other}.")


def _given(secret: Secret | None, name: str) -> Secret:
    if secret is None:
        raise RootKeyRefused(f"{name} is not set.", hint=f"Set VALETKEY_{name.upper()}_FILE to a file that holds it.")
    return secret


def _authorities(settings: Settings) -> tuple[bytes, ...]:
    if settings.root_ca is None:
        return ()
    try:
        return (settings.root_ca.read_bytes(),)
    except OSError as error:
        raise RootKeyRefused(f"root_ca names {settings.root_ca}, which cannot be read.") from error
