"""The client of whoever runs the command: from the stored login, or from the environment."""

from valetkey.client.profile import Profile
from valetkey.client.proving import ProofKey
from valetkey.client.sync import Client


def signed_in() -> Client:
    """A client with this person's credential. Raises `NotAuthenticated` when there is none."""
    profile = Profile()
    return Client(profile.url, credential=profile.credential())


def as_agent(name: str | None, *, key: ProofKey | None = None) -> Client:
    """A client that acts as an agent whose secret is here, with tokens bound to `key`. Raises `NotFound`."""
    profile = Profile()
    return Client(profile.url, credential=profile.agent(name), key=key)
