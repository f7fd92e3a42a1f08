"""/v1/identity-providers: the company's own sign-in, registered by administrators."""

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api import answers
from valetkey.server.api.door import Caller, listed, route
from valetkey.server.api.paging import Listing, Page
from valetkey.server.errors import Conflict
from valetkey.server.principals.login.providers.model import Provider
from valetkey.server.secret import Secret
from valetkey.server.services import Services

PROVIDERS = Listing("identity-providers")


class NewProvider(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    issuer: str
    client_id: str
    client_secret: str | None = None
    group_claim: str = ""
    roles: dict[str, str] = {}
    enrolls: bool = False
    domains: list[str] = []


def shown(services: Services, provider: Provider) -> answers.IdentityProvider:
    """A provider, as the API shows one: never the secret."""
    return {
        "id": provider.id,
        "name": provider.name,
        "issuer": provider.issuer,
        "client_id": provider.client_id,
        "redirect_uri": services.login.sso.callback(provider.id),
        "group_claim": provider.group_claim,
        "roles": dict(provider.roles),
        "enrolls": provider.enrolls,
        "domains": list(provider.domains),
    }


async def create(services: Services, caller: Caller, request: Request, body: NewProvider) -> answers.IdentityProvider:
    by = caller.administrator()
    provider = await services.login.providers.add(
        by=by,
        name=body.name,
        issuer=body.issuer,
        client_id=body.client_id,
        secret=None if not body.client_secret else Secret(body.client_secret),
        group_claim=body.group_claim,
        roles=body.roles,
        enrolls=body.enrolls,
        domains=tuple(body.domains),
    )
    return shown(services, provider)


async def providers(
    services: Services, caller: Caller, request: Request, page: Page
) -> answers.Listed[answers.IdentityProvider]:
    by = caller.administrator()
    after = PROVIDERS.after(services, caller, page.cursor)
    found = [provider for provider in await services.login.providers.of(by) if provider.id > after]  # at most ten
    rows, cursor = PROVIDERS.cut(services, caller, found, page.limit)
    return listed([shown(services, provider) for provider in rows], cursor)


async def check(services: Services, caller: Caller, request: Request) -> answers.CheckedProvider:
    found, problem = await services.login.providers.problem_of(request.path_params["id"], by=caller.administrator())
    return {"id": found.id, "issuer": found.issuer, "works": not problem, "problem": problem}


async def remove(services: Services, caller: Caller, request: Request) -> answers.Removed:
    provider_id = request.path_params["id"]
    await services.login.providers.remove(provider_id, by=caller.administrator())
    return {"id": provider_id, "removed": True}


def routes(services: Services) -> list[Route]:
    return [
        route(
            services,
            "/v1/identity-providers",
            "POST",
            create,
            status=201,
            summary="Register the company's own sign-in",
            body=NewProvider,
            answer=answers.IdentityProvider,
            refuses=(Conflict,),
        ),
        route(
            services,
            "/v1/identity-providers",
            "GET",
            providers,
            summary="The sign-ins of the company",
            query=Page,
            answer=answers.Listed[answers.IdentityProvider],
        ),
        route(
            services,
            "/v1/identity-providers/{id}",
            "DELETE",
            remove,
            summary="Nobody signs in by it any more",
            answer=answers.Removed,
        ),
        route(
            services,
            "/v1/identity-providers/{id}/check",
            "POST",
            check,
            summary="Ask a provider now who it is and for its keys: whether people can sign in by it",
            answer=answers.CheckedProvider,
        ),
    ]
