// A company's identity provider: npm oidc-provider on loopback, everything in memory, and strict: what a scope asks for
// is told at its userinfo endpoint, not in the ID token (OpenID Connect Core section 5.4).
// The environment: PEOPLE, JSON of {subject: claims}, among them `acr` and `amr`.
// Prints one line of JSON once it listens: {url}. Two ways in that no real one has:
//   POST /callbacks [addresses]   registers our client's redirect addresses, which are not known when it starts
//   POST /lies {…}                changes one fact of the next answers: `claims` of the ID token (signed anew by the
//                                 provider's own key), `key` (signed by another), `userinfo` (merged)
import { createServer } from "node:http";
import { generateKeyPairSync } from "node:crypto";
import { Provider } from "oidc-provider";
import { SignJWT, decodeJwt, importJWK } from "jose";

const people = JSON.parse(process.env.PEOPLE);
const fresh = (kid) => ({
  ...generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" }), kid, alg: "ES256", use: "sig",
});
const [own, other] = [fresh("company-1"), fresh("company-1")];
const callbacks = [];
let lies = {};

const server = createServer();
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const url = `http://127.0.0.1:${server.address().port}`;

const registered = (client_id) => ({
  client_id, client_secret: "the company's secret", redirect_uris: callbacks, response_types: ["code"],
  grant_types: ["authorization_code"], token_endpoint_auth_method: "client_secret_basic", id_token_signed_response_alg: "ES256",
});

let provider;
function found() {
  provider = new Provider(url, {
    jwks: { keys: [own] },
    cookies: { keys: ["of the tests"] },
    clients: callbacks.length ? [registered("valetkey"), registered("another-app")] : [],
    claims: { openid: ["sub", "acr", "amr"], email: ["email", "email_verified"], profile: ["groups"] },
    acrValues: ["phr", "phrh", "urn:acme:password"],
    findAccount: (ctx, sub) => sub in people && { accountId: sub, claims: () => ({ sub, ...people[sub] }) },
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    features: { devInteractions: { enabled: false } },
    // The company's own applications need no consent of each employee.
    loadExistingGrant: async (ctx) => {
      const grant = new provider.Grant({ accountId: ctx.oidc.session.accountId, clientId: ctx.oidc.client.clientId });
      grant.addOIDCScope("openid email profile");
      await grant.save();
      return grant;
    },
  });
  provider.use(async (ctx, next) => {
    await next();
    if (ctx.path === "/me" && lies.userinfo) ctx.body = { ...ctx.body, ...lies.userinfo };
    if (ctx.path !== "/token" || !ctx.body?.id_token || !(lies.claims || lies.key)) return;
    const claims = { ...decodeJwt(ctx.body.id_token), ...lies.claims };
    ctx.body.id_token = await new SignJWT(claims).setProtectedHeader({ alg: "ES256", kid: own.kid }).sign(
      await importJWK(lies.key ? other : own, "ES256"));
  });
}
found();

const bodyOf = async (request) => { let text = ""; for await (const chunk of request) text += chunk; return text; };
const done = (response, status = 200) => { response.statusCode = status; response.end(); };

server.on("request", async (request, response) => {
  try {
    if (request.method === "POST" && request.url === "/callbacks") {
      callbacks.push(...JSON.parse(await bodyOf(request)));
      found();
      return done(response);
    }
    if (request.method === "POST" && request.url === "/lies") {
      lies = JSON.parse(await bodyOf(request));
      return done(response);
    }
    if (request.method === "POST" && request.url.startsWith("/interaction/")) {
      const sub = new URLSearchParams(await bodyOf(request)).get("login");
      if (!(sub in people)) return done(response, 403);
      const { acr, amr } = people[sub];
      return await provider.interactionFinished(request, response, { login: { accountId: sub, acr, amr } });
    }
    return provider.callback()(request, response);
  } catch {
    return done(response, 500);
  }
});
console.log(JSON.stringify({ url }));
