// The peer for issuing: npm oidc-provider on loopback, everything in memory, no storage, no audit.
// client_credentials with a resource indicator gives an ES256 JWT access token (RFC 9068) of five minutes; the refresh
// grant answers from one seeded refresh token. Both are its fastest honest settings: no rotation, Basic client secret.
// Prints one line of JSON once it listens: {url, client_id, client_secret, resource, refresh_token}.
import { createServer } from "node:http";
import { generateKeyPairSync } from "node:crypto";
import { Provider } from "oidc-provider";

const resource = "https://api.github.com";
const client = { client_id: "agent", client_secret: "a-secret-of-the-bench" };
const scope = "repo:read";
const key = { ...generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" }), alg: "ES256", use: "sig" };
const info = {
  scope, audience: resource, accessTokenTTL: 300, accessTokenFormat: "jwt", jwt: { sign: { alg: "ES256" } },
};

const server = createServer();
await new Promise((listening) => server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", listening));
const url = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(url, {
  jwks: { keys: [key] },
  cookies: { keys: ["of the bench"] },
  clients: [{
    ...client,
    grant_types: ["client_credentials", "authorization_code", "refresh_token"],
    response_types: ["code"],
    redirect_uris: ["https://client.example/back"],
    token_endpoint_auth_method: "client_secret_basic",
    id_token_signed_response_alg: "ES256",
  }],
  scopes: ["openid", "offline_access", scope],
  findAccount: (ctx, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
  rotateRefreshToken: false,
  ttl: { ClientCredentials: 300, AccessToken: 300, RefreshToken: 3600, Grant: 3600 },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => resource,
      useGrantedResource: () => true,
      getResourceServerInfo: () => info,
    },
  },
});

const grant = new provider.Grant({ accountId: "alice", clientId: client.client_id });
grant.addOIDCScope("offline_access");
grant.addResourceScope(resource, scope);
const grantId = await grant.save();
const refresh = new provider.RefreshToken({
  accountId: "alice", client: await provider.Client.find(client.client_id), grantId, gty: "authorization_code",
  authTime: Math.floor(Date.now() / 1000), scope: `offline_access ${scope}`, resource, rotations: 0,
});
const refresh_token = await refresh.save();

server.on("request", provider.callback());
console.log(JSON.stringify({ url, ...client, resource, scope, refresh_token }));
