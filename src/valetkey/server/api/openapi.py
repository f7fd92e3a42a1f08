"""/openapi.json: everything programs call, put together from what each route and endpoint says of itself.

Nothing is described here a second time: the types are those the doors decode and the handlers answer with. OpenAPI 3.1.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any, NotRequired, TypedDict

import msgspec

from valetkey.server.api.answers import Problem
from valetkey.server.api.described import JSON, ApiRoute, Described
from valetkey.server.oauth import introspect, pushed, register, token
from valetkey.server.oauth.decoupled import backchannel, device
from valetkey.server.oauth.described import DescribedEndpoint, OAuthError
from valetkey.server.oauth.revocation import endpoint as revocation
from valetkey.server.problems import STATUS

PATH = "/openapi.json"
ENDPOINTS: Sequence[DescribedEndpoint] = (
    token.DESCRIBED,
    pushed.DESCRIBED,
    device.DESCRIBED,
    backchannel.DESCRIBED,
    introspect.DESCRIBED,
    revocation.DESCRIBED,
)
"""The OAuth endpoints that programs POST to. A new one adds its description here."""

PROBLEM = "application/problem+json"
_COMPONENT = "#/components/schemas/{name}"
_VERBS = ("suspend", "resume")
_ABOUT = """\
Management of Valetkey: who may act for whom, with what, and how it ends. Every call but those under /v1/login bears a
token of this API: `Authorization: Bearer …`, from /oauth/token by a person's command-line credential, an agent's secret
or key, or a service account's secret. Refusals are problem details (RFC 9457) with a closed list of codes.

Calls to the APIs behind Valetkey go to `/p/{integration}/…` with a delegated credential. Paths, parameters, bodies and
answers there are the API's own: take its documentation, and put `{gateway}/p/{integration}` in place of its address.
Refusals of the gateway itself are problem details with the codes listed here.
"""


class JwkSet(TypedDict):
    """RFC 7517 section 5."""

    keys: list[dict[str, Any]]


class ServerMetadata(TypedDict):
    """RFC 8414 section 2, with the members of every specification that is served."""

    issuer: str
    token_endpoint: str
    jwks_uri: str
    grant_types_supported: list[str]


class ResourceMetadata(TypedDict):
    """RFC 9728 section 2."""

    resource: str
    resource_name: str
    authorization_servers: list[str]
    bearer_methods_supported: list[str]
    scopes_supported: NotRequired[list[str]]
    authorization_details_types_supported: NotRequired[list[str]]


_RESOURCE = "/.well-known/oauth-protected-resource"
DISCOVERY: Sequence[tuple[str, str, str, Any]] = (
    ("/.well-known/oauth-authorization-server", "What this authorization server serves", JSON, ServerMetadata),
    ("/.well-known/openid-configuration", "The same, where OpenID Connect looks for it", JSON, ServerMetadata),
    (_RESOURCE, "The gateway, as a protected resource", JSON, ResourceMetadata),
    (f"{_RESOURCE}/p/{{integration}}", "One API behind the gateway", JSON, ResourceMetadata),
    (f"{_RESOURCE}/v1", "This server's own API", JSON, ResourceMetadata),
    ("/.well-known/jwks.json", "The keys tokens are verified with", "application/jwk-set+json", JwkSet),
    (PATH, "This document", JSON, dict[str, Any]),
)


def document(issuer: str, routes: Iterable[Any]) -> dict[str, Any]:
    """The document over these routes; those that are not of the API are left out."""
    routes = list(routes)
    described = [route.described for route in routes if isinstance(route, ApiRoute)]
    registers = any(route.path == register.DESCRIBED.path for route in routes)
    endpoints = [*ENDPOINTS, register.DESCRIBED] if registers else ENDPOINTS
    schemas = _Schemas(
        Problem,
        OAuthError,
        *(kind for d in described for kind in (d.body, d.answer)),
        *(kind for e in endpoints for kind in (e.form, e.answer)),
        *(kind for *_, kind in DISCOVERY),
    )
    refused = _Refused()
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for each in described:
        for path, summary in zip(paths_of(each), each.summary.split(" | "), strict=True):
            paths[path][each.method.lower()] = _operation(each, path, summary, schemas, refused)
    for endpoint in endpoints:
        paths[endpoint.path]["post"] = _form_operation(endpoint, schemas, refused)
    for path, summary, media, answer in DISCOVERY:
        paths[path]["get"] = _discovery(path, summary, _response("What was asked for.", media, schemas.of(answer)))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Valetkey",
            "version": version("valetkey"),
            "summary": "Short-lived, narrowed, audited credentials for AI agents that act for people",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": issuer}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas.components,
            "responses": dict(sorted(refused.components.items())),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "client": {"type": "http", "scheme": "basic", "description": "client_id and client_secret"},
            },
        },
    }


def paths_of(described: Described) -> list[str]:
    """The addresses of a route as OpenAPI writes them: a route of two verbs has two."""
    if "{verb:status}" not in described.path:
        return [described.path]
    return [described.path.replace("{verb:status}", verb) for verb in _VERBS]


class _Schemas:
    """The schemas of all types at once, so that each becomes one component."""

    def __init__(self, *kinds: Any) -> None:
        self._kinds = list(dict.fromkeys(kind for kind in kinds if kind is not None))
        self._schemas, self.components = msgspec.json.schema_components(self._kinds, ref_template=_COMPONENT)

    def of(self, kind: Any) -> dict[str, Any]:
        return self._schemas[self._kinds.index(kind)]


def _parameters(query: type) -> list[dict[str, Any]]:
    """The members of a query as parameters."""
    _, components = msgspec.json.schema_components([query], ref_template=_COMPONENT)
    shown = []
    needed = components[query.__name__].get("required", [])
    for member, given in components[query.__name__]["properties"].items():
        schema = dict(given)
        about = {"description": schema.pop("description")} if "description" in schema else {}
        shown.append({"name": member, "in": "query", "required": member in needed, **about, "schema": schema})
    return shown


def _operation(described: Described, path: str, summary: str, schemas: _Schemas, refused: "_Refused") -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(described.method, path),
        "summary": summary,
        "tags": [path.split("/")[2]],
        "security": [] if described.is_open else [{"bearer": list(described.scopes)}],
    }
    parameters = [] if described.query is None else _parameters(described.query)
    if "{id}" in path:
        named = {"type": "string", "minLength": 1}
        parameters.insert(0, {"name": "id", "in": "path", "required": True, "schema": named})
    if parameters:
        operation["parameters"] = parameters
    if described.body is not None:
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": schemas.of(described.body)}}}
    answer = {"type": "string"} if described.answer is None else schemas.of(described.answer)
    success = {str(described.status): _response("Done.", described.media, answer)}
    return operation | {"responses": success | _problems(described, refused)}


def _problems(described: Described, refused: "_Refused") -> dict[str, Any]:
    by_status: dict[int, set[str]] = defaultdict(set)
    for refusal in described.all_refusals:
        by_status[STATUS.get(refusal, 500)].add(refusal.code)
    return {str(status): refused.problem(codes) for status, codes in sorted(by_status.items())}


class _Refused:
    """Refusals as components: one for each set of codes."""

    def __init__(self) -> None:
        self.components: dict[str, Any] = {}

    def problem(self, codes: Iterable[str]) -> dict[str, Any]:
        return self._of("Problem", PROBLEM, "code", sorted(codes))

    def oauth(self, codes: Iterable[str]) -> dict[str, Any]:
        return self._of("OAuthError", JSON, "error", sorted(codes))

    def _of(self, kind: str, media: str, member: str, codes: list[str]) -> dict[str, Any]:
        name = f"{kind}-{'-'.join(codes)}"
        codes_only = {"properties": {member: {"enum": codes}}}
        schema = {"allOf": [{"$ref": _COMPONENT.format(name=kind)}, codes_only]}
        self.components[name] = _response(f"Refused: {' or '.join(codes)}.", media, schema)
        return {"$ref": f"#/components/responses/{name}"}


def _form_operation(endpoint: DescribedEndpoint, schemas: _Schemas, refused: "_Refused") -> dict[str, Any]:
    success = (
        {"description": "Done."} if endpoint.answer is None else _response("Done.", JSON, schemas.of(endpoint.answer))
    )
    body = {"schema": schemas.of(endpoint.form)}
    errors = {
        str(status): refused.oauth(codes) for status, codes in {**endpoint.errors, 500: ("server_error",)}.items()
    }
    return {
        "operationId": _operation_id("post", endpoint.path),
        "summary": endpoint.summary,
        "tags": ["oauth"],
        "security": [{"client": []}, {}] if endpoint.client else [],
        "requestBody": {"required": True, "content": {endpoint.media: body}},
        "responses": {str(endpoint.status): success, **errors},
    }


def _discovery(path: str, summary: str, found: dict[str, Any]) -> dict[str, Any]:
    said = {
        "operationId": _operation_id("get", path),
        "summary": summary,
        "tags": ["discovery"],
        "security": [],
        "responses": {"200": found},
    }
    if "{integration}" not in path:
        return said
    kind: dict[str, Any] = {"schema": {"type": "object"}}
    missing = {"description": "There is no such API.", "content": {JSON: kind, PROBLEM: kind}}
    named = {"name": "integration", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    return said | {"parameters": [named], "responses": {"200": found, "404": missing}}


def _response(description: str, media: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {media: {"schema": schema}}}


def _operation_id(method: str, path: str) -> str:
    words = (
        path.removeprefix("/v1")
        .replace("{id}", "by_id")
        .replace("{integration}", "by_name")
        .replace(".", "_")
        .replace("-", "_")
    )
    return "_".join([method.lower(), *(word for word in words.split("/") if word)])
