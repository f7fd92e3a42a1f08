"""Clients that are named by the https address of their own description (draft-ietf-oauth-client-id-metadata-document).

In order: (1) the address is one a client may have; (2) the description is fetched through the guarded way out, unless
a fresh one is remembered; (3) it names this very address as its `client_id`; (4) what it says is checked like every
client's. Errors and descriptions that cannot be used are never remembered as clients. Knows nobody who consented.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from valetkey.server.bounded import Bounded
from valetkey.server.clock import Clock
from valetkey.server.egress import Documents, Url
from valetkey.server.errors import InvalidRequest, NotFound, UpstreamFailed
from valetkey.server.oauth.clients.described import KEY_METHODS, metadata_of
from valetkey.server.oauth.clients.model import Client, ClientKind
from valetkey.server.oauth.clients.registration import GRANT_TYPES
from valetkey.server.principals.keysets import place_of

LONGEST_ADDRESS: Final = 512  # bytes
MOST_BYTES: Final = 5 * 1024
LONGEST_FRESH: Final = 86_400  # seconds, whatever its host says
_REMEMBERED: Final = 512


def is_address(client_id: str) -> bool:
    """Whether this client id is an address rather than one of ours, which never begin like that."""
    return client_id.startswith(("https://", "http://"))


def address_of(client_id: str, *, on_loopback: bool) -> Url:
    """The address a client id is. Raises `InvalidRequest`.

    A path beyond `/`, no fragment, no user, no dot segments, one canonical spelling.
    """
    if len(client_id) > LONGEST_ADDRESS:
        raise InvalidRequest(f"A client id is at most {LONGEST_ADDRESS} bytes long.")
    url = place_of(client_id, on_loopback=on_loopback)
    if url.target.partition(b"?")[0] == b"/":
        raise InvalidRequest("A client id that is an address has a path.")
    return url


class Descriptions:
    """One per process. Remembers descriptions for as long as their hosts allow, at most a day."""

    def __init__(self, documents: Documents, clock: Clock, *, on_loopback: bool) -> None:
        self._documents = documents
        self._clock = clock
        self._on_loopback = on_loopback
        self._known: Bounded[tuple[float, Client]] = Bounded(_REMEMBERED)

    async def client(self, client_id: str) -> Client:
        """The client at this address. Raises `NotFound` that says what is wrong with it, `UpstreamFailed` where its
        host cannot be asked now: then nobody can say who it is, and nothing is given."""
        fresh_until, known = self._known.get(client_id, (0.0, None))
        if known is not None and self._clock.monotonic() < fresh_until:
            return known
        try:
            url = address_of(client_id, on_loopback=self._on_loopback)
            document = await self._documents.get(url, most_bytes=MOST_BYTES)
            if document.members.get("client_id") != client_id:
                raise InvalidRequest("It does not name its own address as its client_id.")
            client = _client(client_id, url, document.members, on_loopback=self._on_loopback)
        except UpstreamFailed as error:
            words = f"The description of this client cannot be read. {error.public}"
            raise UpstreamFailed(words, detail=error.detail) from error
        except InvalidRequest as error:
            raise NotFound(
                f"The description of this client cannot be used. {error.public}",
                detail=error.detail,
                hint="Its publisher has to correct it.",
            ) from error
        seconds = min(document.fresh_seconds, LONGEST_FRESH)
        if seconds:
            self._known[client_id] = self._clock.monotonic() + seconds, client
        return client


def _client(client_id: str, url: Url, members: Mapping[str, object], *, on_loopback: bool) -> Client:
    # A description is written for every server at once: grants that are not for it here are passed over, not refused.
    grants = members.get("grant_types")
    said = dict(members)
    if isinstance(grants, list):
        said["grant_types"] = [grant for grant in grants if grant in GRANT_TYPES]
    usual = "private_key_jwt" if "jwks" in said or "jwks_uri" in said else "none"
    metadata = metadata_of(said, methods=KEY_METHODS, usual_method=usual)
    if metadata.jwks_uri:
        place_of(metadata.jwks_uri, on_loopback=on_loopback)
    metadata = replace(metadata, name=metadata.name or url.host)
    return Client(
        id=client_id,
        kind=ClientKind.DOCUMENT,
        name=metadata.name,
        principal=None,
        metadata=metadata,
        host=url.host if url.port in (80, 443) else url.place,
    )
