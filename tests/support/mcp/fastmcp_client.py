"""FastMCP's client with its own OAuth helper. A program: `fastmcp_client.py SERVER_URL`; talks as client.py does."""

import asyncio
import json
import sys
from urllib.parse import parse_qs, urlsplit

from fastmcp import Client
from fastmcp.client.auth import OAuth
from mcp.shared.auth import AuthorizationCodeResult


class Told(OAuth):
    """Its browser is whoever reads our output."""

    async def redirect_handler(self, authorization_url: str) -> None:
        print(f"OPEN {authorization_url}", flush=True)

    async def callback_handler(self) -> AuthorizationCodeResult:
        where = (await asyncio.to_thread(sys.stdin.readline)).strip()
        answer = {name: values[0] for name, values in parse_qs(urlsplit(where).query).items()}
        return AuthorizationCodeResult(code=answer["code"], state=answer.get("state"), iss=answer.get("iss"))


async def main() -> None:
    auth = Told(client_name="notes-reader", callback_port=33418, callback_host="127.0.0.1")
    async with Client(sys.argv[1], auth=auth) as client:
        answer = await client.call_tool("whoami", {})
    said = answer.structured_content or json.loads(answer.content[0].text)
    information = await auth.context.storage.get_client_info()
    print(json.dumps({"said": said, "client_id": information.client_id}))


asyncio.run(main())
