// An API behind npm oidc-provider, on loopback: its own sign-in, consent and device pages (RFC 8628), as they come.
// The environment: CLIENT_ID and CLIENT_SECRET. Prints one line of JSON once it listens: {url}.
import { createServer } from "node:http";
import { Provider } from "oidc-provider";

const server = createServer();
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const url = `http://127.0.0.1:${server.address().port}`;
const provider = new Provider(url, {
  cookies: { keys: ["of the tests"] },
  clients: [{
    client_id: process.env.CLIENT_ID, client_secret: process.env.CLIENT_SECRET, redirect_uris: [], response_types: [],
    grant_types: ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"],
    token_endpoint_auth_method: "client_secret_basic",
  }],
  scopes: ["openid", "offline_access", "reports"],
  claims: { openid: ["sub"] },
  findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
  features: { deviceFlow: { enabled: true }, devInteractions: { enabled: true } },
});
server.on("request", provider.callback());
console.log(JSON.stringify({ url }));
