"""The forwarder of `valetkey run`: on 127.0.0.1, inside the run process, between a child and the gateway.

A request that holds this run's placeholder gets a fresh delegated credential in its place and goes to `/p/…` of the
gateway; any other is refused with 401, whoever sent it. It decides nothing: the gateway does. How a request is read and
carried is in `carrying`. Specs: RFC 9110 section 7.6.1 (hop-by-hop fields).
"""

import threading
from http.client import HTTPResponse
from typing import ClassVar, Final

from valetkey.client.addressed import Addressing, Onward, OwnAddress
from valetkey.client.carrying import HOP_BY_HOP, Connection, Headers, Server
from valetkey.client.errors import NotAuthenticated
from valetkey.client.fresh import Fresh
from valetkey.client.http import base_of
from valetkey.client.placeholder import NotHeld, new_placeholder, put, without
from valetkey.client.proving import ProofKey
from valetkey.client.unverified import unverified_claims
from valetkey.client.websocket import asks_for_websocket, onward_handshake

_OURS: Final = frozenset({"host", "content-length", "accept-encoding", "expect"})


class Forwarder:
    """Serves from `start` to `close`. `apis` are the integrations it leads to; `fresh` has the credentials.

    `key` is what they are bound to: then every call goes on with a fresh proof of it.
    """

    serves: ClassVar[type[Connection]] = Connection

    def __init__(self, gateway: str, apis: frozenset[str], fresh: Fresh, key: ProofKey | None = None) -> None:
        self.key = key
        self.gateway = base_of(gateway)
        self.apis = apis
        self.fresh = fresh
        self.placeholder = new_placeholder()
        self._server = Server(self, self.serves)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.own = f"{self.url}/p/"
        self.addressing: Addressing = OwnAddress(
            hosts=frozenset({f"127.0.0.1:{self.port}", f"localhost:{self.port}"}),
            apis=apis,
            theirs=f"{self.gateway.geturl()}/p/",
            own=self.own,
        )
        self._thread = threading.Thread(target=self._server.serve_forever, name="forwarder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Take no more requests. Those under way end with the process."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def base(self, api: str) -> str:
        """Where a child reaches one API."""
        return f"{self.own}{api}"

    def admitted(self, method: str, target: str, headers: Headers, at: Addressing) -> tuple[Onward, Headers]:
        """Where a request goes on, and its headers with a fresh credential. Raises the refusal of one that may not."""
        at.check_host([value for name, value in headers if name.lower() == "host"])
        try:
            put(headers, placeholder=self.placeholder, credential="")  # before anything is minted for a stranger
        except NotHeld:
            raise NotAuthenticated(
                "The request does not hold this run's placeholder, in exactly one place.",
                hint="Send it where the API's token goes; `valetkey run` sets it in the environment of its command.",
                status=401,
            ) from None
        onward = at.onward(target)
        kept = onward_headers(headers)
        if asks_for_websocket(headers):
            kept = onward_handshake(kept, next(value for name, value in headers if name.lower() == "host"))
        credential = self.fresh.credential(onward.api)
        if self.key is None or "cnf" not in unverified_claims(credential):
            return onward, put(kept, placeholder=self.placeholder, credential=credential)
        proof = self.key.proof(method, self.gateway.geturl() + onward.target, token=credential)
        rest = [(n, v) for n, v in without(kept, placeholder=self.placeholder) if n.lower() != "dpop"]
        return onward, [*rest, ("Authorization", f"DPoP {credential}"), ("DPoP", proof)]

    def learn(self, answer: HTTPResponse) -> bool:
        """Take the nonce the gateway offers for the next proof; whether this very call was refused for want of it."""
        if self.key is None or not self.key.learn(self.gateway.geturl(), answer.getheader("DPoP-Nonce")):
            return False
        return answer.status == 401 and "use_dpop_nonce" in answer.getheader("WWW-Authenticate", "")


def onward_headers(headers: Headers) -> Headers:
    """The headers that go further than one hop, without those that are written anew."""
    named = {n.strip().lower() for name, value in headers if name.lower() == "connection" for n in value.split(",")}
    dropped = HOP_BY_HOP | _OURS | named - {"authorization"}
    return [(name, value) for name, value in headers if name.lower() not in dropped]
