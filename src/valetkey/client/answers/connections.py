"""Integrations, accounts that are connected, and APIs of one's own."""

from typing import TypedDict


class App(TypedDict):
    id: str
    integration: str
    kind: str
    client_id: str
    redirect_uri: str


class CheckedApp(TypedDict):
    id: str
    client: str
    redirect_uri: str


class Permission(TypedDict):
    name: str
    sentence: str
    tier: str


class Residual(TypedDict):
    connection: str
    integration: str
    account: str
    asked: list[Permission]
    granted: list[Permission]
    could_do: str
    for_how_long: str
    held_back_by: str
    why: str


class Scope(TypedDict):
    name: str
    sentence: str
    tier: str


class Address(TypedDict):
    address: str
    gateway: str


class Integration(TypedDict):
    name: str
    title: str
    audience: str
    base_url: str
    gateway: str
    addresses: list[Address]
    scopes: list[Scope]


class ResourceServer(TypedDict):
    id: str
    name: str
    title: str
    audience: str
    layout: str
    algorithm: str
    scopes: list[Scope]
    service_account: str | None
    agent: str | None


class Connection(TypedDict):
    id: str
    integration: str
    name: str
    account: str
    owner: str | None
    shared: bool
    base_url: str
    generation: int
    last_used_at: int | None
    status: str


class NewConnectCode(TypedDict):
    id: str
    code: str
    page: str
    page_with_code: str
    expires_in: int
    interval: int


class ConnectCode(TypedDict):
    id: str
    status: str
    reason: str
    detail: str
    connection: Connection | None
    interval: int


class Entitlement(TypedDict):
    user: str
    connection: str
    grants: list[str]
