"""From a name to the addresses that may be dialled: all answers must pass, and the proven ones are dialled.

Refuses to know HTTP. An answer is remembered for at most `KEPT_SECONDS`; a failed one is not remembered.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from valetkey.server.egress.url import Url
from valetkey.server.errors import UpstreamFailed

KEPT_SECONDS: Final = 60.0
Lookup = Callable[[str, int], Awaitable[list[str]]]
"""Host and port to every address the name has now."""


async def system_lookup(host: str, port: int) -> list[str]:
    """Ask the machine's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


async def proven_addresses(url: Url, *, lookup: Lookup, allowed: Callable[[str], bool]) -> tuple[str, ...]:
    """Return the addresses of a host, IPv4 first, or raise `UpstreamFailed` if any one of them may not be dialled.

    `allowed` says which: all the addresses of a host must be of the one kind that is expected of it.
    """
    if url.literal is not None:
        answers = [url.literal]
    else:
        try:
            answers = await lookup(url.host, url.port)
        except OSError as error:
            raise UpstreamFailed(detail=f"{url.place}: name not resolved ({type(error).__name__})") from None
    # SECURITY: one bad answer spoils the name; dialling "the good one" would let the next lookup choose.
    # Guarded by tests/attacks/test_ssrf.py::test_one_private_answer_among_public_ones_refuses_the_name
    if not answers or not all(allowed(answer) for answer in answers):
        raise UpstreamFailed(detail=f"{url.place}: resolves to an address that may not be dialled")
    return tuple(sorted(dict.fromkeys(answers), key=lambda answer: ":" in answer))
