"""The root key these settings name: locked by a passphrase where one is given, else in a private file."""

from valetkey.server.settings import Settings
from valetkey.server.vault.kms.passphrase import PassphraseRoot
from valetkey.server.vault.kms.root import FileRoot, HeldRoot


def open_root(settings: Settings) -> HeldRoot:
    """Open the root key, creating it in a new deployment. Raises `RootKeyRefused`."""
    folder = settings.data / "keys"
    if settings.root_passphrase is not None:
        return PassphraseRoot.load_or_create(folder / "root.locked", settings.root_passphrase)
    return FileRoot.load_or_create(folder / "root")
