"""From a name to the addresses that may be dialled: all answers must pass, and the proven ones are dialled.

Refuses to know HTTP. An answer is remembered for at most `KEPT_SECONDS`; a failed one is not remembered.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from valetkey.server.egress.addresses import is_loopback, is_public
from valetkey.server.egress.url import Url
from valetkey.server.errors import UpstreamFailed

KEPT_SECONDS: Final = 60.0
Lookup = Callable[[str, int], Awaitable[list[str]]]
"""Host and port to every address the name has now."""


async def system_lookup(host: str, port: int) -> list[str]:
    """Ask the machine's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


async def proven_addresses(url: Url, *, lookup: Lookup, local: bool) -> tuple[str, ...]:
    """Return the addresses of a host, IPv4 first, or raise `UpstreamFailed` if any one of them may not be dialled.

    `local` hosts are those an administrator configured by exact name and port: they must be on loopback, all of them.
    """
    if url.literal is not None:
        answers = [url.literal]
    else:
        try:
            answers = await lookup(url.host, url.port)
        except OSError as error:
            raise UpstreamFailed(detail=f"{url.place}: name not resolved ({type(error).__name__})") from None
    allowed = is_loopback if local else is_public
    # SECURITY: one bad answer spoils the name; dialling "the good one" would let the next lookup choose.
    # Guarded by tests/attacks/test_ssrf.py::test_one_private_answer_among_public_ones_refuses_the_name
    if not answers or not all(allowed(answer) for answer in answers):
        raise UpstreamFailed(detail=f"{url.place}: resolves to an address that may not be dialled")
    return tuple(sorted(dict.fromkeys(answers), key=lambda answer: ":" in answer))
