"""How the vault fails: one sentence for every record that does not open, and one class for a refused root key."""

from valetkey.server.errors import ValetkeyError


class VaultError(ValetkeyError):
    """What was sealed cannot be opened."""

    hint = "Ask your administrator to run `valetkey doctor`."


class RootKeyRefused(ValetkeyError):
    """The root key cannot be used as it is."""

    hint = "Correct what is named, then start again. Without this key, nothing that was sealed can be opened."


class KeyServiceAway(RootKeyRefused):
    """The key service does not answer, so nothing can be unlocked now."""

    hint = "Nothing was changed: start again when the service answers. `valetkey doctor` asks it without starting."
