"""The Python SDK's own MCP client with OAuth: discovers, registers or presents its document, asks, calls a tool.

A program: `client.py SERVER_URL [CLIENT_METADATA_URL]`. Prints `OPEN <address>` for the person's browser, reads from
its input where the browser landed, and ends with one line of JSON: what the tool said, and the client id it had.
"""

import asyncio
import json
import sys
from urllib.parse import parse_qs, urlsplit

from mcp.client.auth import OAuthClientProvider
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

REDIRECT = "http://127.0.0.1:33418/callback"


class Kept:
    """What the client remembers, in memory."""

    def __init__(self) -> None:
        self.tokens = None
        self.client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens) -> None:
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info) -> None:
        self.client = client_info


async def opened(address: str) -> None:
    print(f"OPEN {address}", flush=True)


async def landed() -> AuthorizationCodeResult:
    where = (await asyncio.to_thread(sys.stdin.readline)).strip()
    answer = {name: values[0] for name, values in parse_qs(urlsplit(where).query).items()}
    if "error" in answer:
        raise SystemExit(json.dumps(answer))
    return AuthorizationCodeResult(code=answer["code"], state=answer.get("state"), iss=answer.get("iss"))


async def main() -> None:
    server = sys.argv[1]
    kept = Kept()
    auth = OAuthClientProvider(
        server_url=server,
        client_metadata=OAuthClientMetadata(
            client_name="notes-reader",
            redirect_uris=[REDIRECT],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
            token_endpoint_auth_method="none",
        ),
        storage=kept,
        redirect_handler=opened,
        callback_handler=landed,
        client_metadata_url=sys.argv[2] if len(sys.argv) > 2 else None,
    )
    async with (
        create_mcp_http_client(auth=auth) as http,
        streamable_http_client(server, http_client=http) as streams,
        ClientSession(streams[0], streams[1]) as session,
    ):
        await session.initialize()
        answer = await session.call_tool("whoami", {})
    said = answer.structured_content or json.loads(answer.content[0].text)
    print(json.dumps({"said": said, "client_id": kept.client.client_id, "refresh": bool(kept.tokens.refresh_token)}))


asyncio.run(main())
