"""The one way out: every byte Valetkey sends to another host leaves through `Egress`.

Refuses to know who calls and why: credentials, policy and audit are the caller's. The parts, from pure to effectful:
`addresses` (which addresses are public), `url` (what may be asked for), `resolve` (name to one proven address),
`framing` (which heads may pass), `pool`, `response` and `send` (the HTTP client, which no other slice may import),
`document` (one small JSON object from an address a stranger named), `postgres` and `smtp` (a session at a
database, or at the operator's mail server, to an address that was proven like any other).
"""

from valetkey.server.egress.document import Document, Documents
from valetkey.server.egress.response import Response
from valetkey.server.egress.send import Egress, Sending
from valetkey.server.egress.url import Url, parsed

__all__ = ["Document", "Documents", "Egress", "Response", "Sending", "Url", "parsed"]
