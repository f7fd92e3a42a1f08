"""A protected MCP server nobody of ours wrote the protocol of: the Python SDK's, verifying our access tokens by PyJWT.

A program: `server.py PORT ISSUER RESOURCE SCOPE`. Its one tool says who is acting, for whom. Prints a line when ready.
"""

import sys
from typing import Any

import anyio
import jwt
import uvicorn
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer


class Verifier:
    """RFC 9068, as a resource server reads it."""

    def __init__(self, issuer: str, resource: str) -> None:
        self._issuer, self._resource = issuer, resource
        self._keys = jwt.PyJWKClient(f"{issuer}/.well-known/jwks.json")

    async def verify_token(self, token: str) -> AccessToken | None:
        try:
            return await anyio.to_thread.run_sync(self._verified, token)
        except jwt.PyJWTError as error:
            print(f"refused: {error}", file=sys.stderr, flush=True)
            return None

    def _verified(self, token: str) -> AccessToken:
        key = self._keys.get_signing_key_from_jwt(token)
        if jwt.get_unverified_header(token).get("typ") != "at+jwt":
            raise jwt.InvalidTokenError("not an access token")
        claims: dict[str, Any] = jwt.decode(
            token, key.key, algorithms=["ES256"], audience=self._resource, issuer=self._issuer
        )
        return AccessToken(
            token=token,
            client_id=claims["client_id"],
            scopes=claims.get("scope", "").split(),
            expires_at=claims["exp"],
            resource=claims["aud"],
            subject=claims["sub"],
            claims=claims,
        )


def main() -> None:
    port, issuer, resource, scope = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
    settings = AuthSettings(
        issuer_url=issuer, resource_server_url=resource, required_scopes=[scope], validate_token_resource=True
    )
    server = MCPServer("notes", token_verifier=Verifier(issuer, resource), auth=settings)

    @server.tool()
    def whoami() -> dict[str, Any]:
        """Who is acting, on whose behalf."""
        token = get_access_token()
        assert token is not None
        claims = token.claims or {}
        return {"user": claims.get("sub"), "agent": (claims.get("act") or {}).get("sub"), "scopes": token.scopes}

    class Announced(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            print("ready", flush=True)

    Announced(uvicorn.Config(server.streamable_http_app(), host="127.0.0.1", port=port, log_level="error")).run()


if __name__ == "__main__":
    main()
