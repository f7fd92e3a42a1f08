"""Integrations, accounts that are connected, and APIs of one's own."""

from typing import Literal, NotRequired, TypedDict


class App(TypedDict):
    """An app at an API. `redirect_uri` is the exact address to register there. The secret is never shown."""

    id: str
    integration: str
    kind: str
    client_id: str
    redirect_uri: str


class CheckedApp(TypedDict):
    """Whether the API knows the app by its secret; `unclear` when it answered neither way."""

    id: str
    client: Literal["accepted", "refused", "unclear"]
    redirect_uri: str


class Scope(TypedDict):
    name: str
    sentence: str
    tier: str


class Address(TypedDict):
    """An address clients know an API by, and what stands for it at the gateway."""

    address: str
    gateway: str


class Integration(TypedDict):
    """An API that can be delegated; `gateway` is where an agent calls it with its delegated credential."""

    name: str
    title: str
    audience: str
    base_url: str
    gateway: str
    addresses: list[Address]
    scopes: list[Scope]


class Connection(TypedDict):
    """An account at an API. The credential behind it is never shown. `owner` is null where it is shared.

    `generation` rises whenever the account is connected again, with whatever the API then gave.
    """

    id: str
    integration: str
    name: str
    account: str
    owner: str | None
    shared: bool
    base_url: str
    generation: int
    last_used_at: int | None
    status: Literal["linked", "needs_reconnect", "revoked"]


class NewConnectCode(TypedDict):
    """`code` leads its person on `page`, once; `page_with_code` shows it filled in, to be compared."""

    id: str
    code: str
    page: str
    page_with_code: str
    expires_in: int
    interval: int


class ConnectCode(TypedDict):
    """`detail` says why nothing was connected; `connection` is what was."""

    id: str
    status: Literal["pending", "linked", "declined", "refused", "expired"]
    reason: str
    detail: str
    connection: Connection | None
    interval: int


class Permission(TypedDict):
    """One of the API's permissions under its own name; `sentence` completes "it may …"."""

    name: str
    sentence: str
    tier: str


class Residual(TypedDict):
    """What the stored credential could do if it leaked, against what was asked for, and who stands in between."""

    connection: str
    integration: str
    account: str
    asked: list[Permission]
    granted: list[Permission]
    could_do: str
    for_how_long: str
    held_back_by: Literal["gateway", "api"]
    why: str


class Entitlement(TypedDict):
    user: str
    connection: str
    grants: list[str]


class ResourceServer(TypedDict):
    """An API of the organization's own. `seq` is the change its end is known under."""

    id: str
    name: str
    title: str
    audience: str
    layout: Literal["rfc8693", "agent"]
    algorithm: str
    scopes: list[Scope]
    service_account: str | None
    agent: str | None
    seq: NotRequired[int]
